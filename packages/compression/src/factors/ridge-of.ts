import type { Matrix } from '@kvlr/linalg';

const relativeRidge = 1e-11;

/** Ridge of a least-squares solve, relative to the mean diagonal: enough to survive keys of deficient rank. */
export function ridgeOf(gram: Matrix): number {
  let trace = 0;
  for (let index = 0; index < gram.rows; index++) trace += gram.data[index * (gram.cols + 1)]!;
  return (relativeRidge * trace) / gram.rows;
}
