import { type Matrix, selectTiles } from '@kvlr/linalg';

/** Covariance E[u u^T] - E[u] E[u]^T of some heads, [t*D, t*D]. */
export function centredMoment(
  secondMoment: Float64Array,
  mean: Float64Array,
  heads: readonly number[],
  headDim: number,
): Matrix {
  const block = selectTiles(secondMoment, headDim, heads);
  const means = heads.flatMap((head) => Array.from(mean.subarray(head * headDim, (head + 1) * headDim)));
  for (let row = 0; row < block.rows; row++) {
    for (let column = 0; column < block.cols; column++) {
      block.data[row * block.cols + column]! -= means[row]! * means[column]!;
    }
  }
  return block;
}
