import { createMatrix } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';
import type { Phasor } from './fit-phasor.ts';

/** Factors of t heads of width D that are zero until phasors or blocks are put into them. */
export function emptyFactors(heads: number, headDim: number): GroupFactors {
  return {
    encoder: createMatrix(headDim, heads * headDim),
    decoders: Array.from({ length: heads }, () => createMatrix(headDim, headDim)),
  };
}

/**
 * Writes complex factors of frequency j into real ones: multiplying the pair (j, j + D/2) by c is the 2 x 2 block
 * [[Re c, -Im c], [Im c, Re c]]. Such blocks commute with RoPE, which multiplies the same pair by a unit number.
 * Transposing the block conjugates c, so the ordinary fold B^T W_Q multiplies queries by conj(b).
 */
export function placePhasor(factors: GroupFactors, { encoder, decoder }: Phasor, frequency: number): void {
  const { encoder: encoderMatrix, decoders } = factors;
  const headDim = encoderMatrix.rows;
  const first = frequency;
  const second = frequency + headDim / 2;
  const place = (data: Float64Array, width: number, column: number, real: number, imag: number) => {
    data[first * width + column + first] = real;
    data[first * width + column + second] = -imag;
    data[second * width + column + first] = imag;
    data[second * width + column + second] = real;
  };
  decoders.forEach((decoderMatrix, head) => {
    place(encoderMatrix.data, encoderMatrix.cols, head * headDim, encoder.real[head]!, encoder.imag[head]!);
    place(decoderMatrix.data, headDim, 0, decoder.real[head]!, decoder.imag[head]!);
  });
}
