import { createMatrix, identity } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';

/** A = [I ... I] / t, B_i = I: the mean of the heads stands for each (Ainslie et al. 2023, arXiv 2305.13245). */
export function meanPoolFactors(heads: number, headDim: number): GroupFactors {
  const encoder = createMatrix(headDim, heads * headDim);
  for (let head = 0; head < heads; head++) {
    for (let row = 0; row < headDim; row++) encoder.data[row * encoder.cols + head * headDim + row] = 1 / heads;
  }
  return { encoder, decoders: Array.from({ length: heads }, () => identity(headDim)) };
}
