export { blockDiagonal, columns, hstack, rows, selectBlock, selectTiles, splitRows, vstack } from './blocks.ts';
export { cholesky, solveCholesky, solveRidge } from './cholesky.ts';
export {
  type ComplexMatrix,
  type ComplexVector,
  conjugate,
  createComplexMatrix,
  quadraticForm,
} from './complex-matrix.ts';
export { eigHermitian, type HermitianEigen } from './eigen/hermitian.ts';
export {
  eigenvaluesSymmetric,
  eigSymmetric,
  type SymmetricEigen,
  type SymmetricPowerSettings,
  symmetricPower,
} from './eigen/symmetric.ts';
export { eigSymmetricTop, type SymmetricTopSettings } from './eigen/symmetric-top.ts';
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
export { SecondMoment } from './moments.ts';
export { multiply, multiplyTransposed } from './product/multiply.ts';
export { type QrFactors, qr } from './qr.ts';
export { procrustes, type SingularValues, svd } from './svd.ts';
