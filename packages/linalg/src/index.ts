export {
  blockDiagonal,
  columns,
  hstack,
  rows,
  selectBlock,
  selectTiles,
  splitRows,
  vstack,
} from './blocks.ts';
export {
  type ComplexMatrix,
  type ComplexVector,
  conjugate,
  createComplexMatrix,
  quadraticForm,
} from './complex-matrix.ts';
export { eigHermitian, type HermitianEigen } from './eigen/eig-hermitian.ts';
export { eigSymmetric } from './eigen/eig-symmetric.ts';
export { eigSymmetricTop, type SymmetricTopSettings } from './eigen/eig-symmetric-top.ts';
export { eigenvaluesSymmetric } from './eigen/eigenvalues-symmetric.ts';
export type { SymmetricEigen } from './eigen/symmetric-eigen.ts';
export { cholesky } from './factor/cholesky.ts';
export { procrustes } from './factor/procrustes.ts';
export { type QrFactors, qr } from './factor/qr.ts';
export { solveCholesky } from './factor/solve-cholesky.ts';
export { solveRidge } from './factor/solve-ridge.ts';
export { type SingularValues, svd } from './factor/svd.ts';
export { type SymmetricPowerSettings, symmetricPower } from './factor/symmetric-power.ts';
export {
  addTo,
  createMatrix,
  frobeniusSquared,
  identity,
  innerProduct,
  type Matrix,
  scale,
  trace,
  transpose,
} from './matrix.ts';
export { SecondMoment } from './moment/second-moment.ts';
export { multiply } from './product/multiply.ts';
export { multiplyTransposed } from './product/multiply-transposed.ts';
