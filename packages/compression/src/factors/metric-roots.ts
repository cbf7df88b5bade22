import { blockDiagonal, eigSymmetric, type Matrix, multiplyTransposed } from '@kvlr/linalg';

/** Eigenvalues of a metric below this share of the largest are raised to it. */
const relativeFloor = 1e-8;

/**
 * M^(1/2) and M^(-1/2) of a block-diagonal metric, [t*D, t*D] each, decomposed block by block; the floor is relative to
 * the whole metric.
 */
export function metricRoots(blocks: readonly Matrix[]): { root: Matrix; inverseRoot: Matrix } {
  const decompositions = blocks.map(eigSymmetric);
  const largest = decompositions.reduce((highest, { values }) => Math.max(highest, values[0]!), 0);
  // A metric of zeros says that no error matters; any factors will do, so it is read as the identity.
  const floor = largest > 0 ? largest * relativeFloor : 1;
  const power = (exponent: number) =>
    blockDiagonal(
      decompositions.map(({ values, vectors }) => {
        const scaled = vectors.data.map(
          (value, index) => value * Math.max(values[index % vectors.cols]!, floor) ** exponent,
        );
        return multiplyTransposed({ ...vectors, data: scaled }, vectors);
      }),
    );
  return { root: power(0.5), inverseRoot: power(-0.5) };
}
