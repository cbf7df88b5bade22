import {
  type ComplexMatrix,
  type ComplexVector,
  conjugate,
  createMatrix,
  eigHermitian,
  eigSymmetric,
  quadraticForm,
  trace,
} from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';

/** Rank-one factors of t complex numbers: kappa_i ~ b_i z with z = sum of a_i kappa_i. a is the encoder, b the decoder. */
export interface RankOneFactors {
  encoder: ComplexVector;
  decoder: ComplexVector;
}

/** 'real': the heads of a group are mixed without phases, as in TransMLA's rotation across heads (arXiv 2502.07864). */
export type RankOneField = 'complex' | 'real';

/**
 * The factors that minimise the sum of w_i E|kappa_i - b_i z|^2: with u the top eigenvector of
 * diag(w)^(1/2) Gamma diag(w)^(1/2), a_i = conj(u_i) sqrt(w_i) and b_i = u_i / sqrt(w_i).
 * Gauge: the first b is real and positive, E|z|^2 is the mean energy of the heads.
 *
 * @param gamma Gamma = E[kappa kappa^H], [t, t].
 * @param weights w, all positive, [t].
 */
export function fitRankOne(gamma: ComplexMatrix, weights: Float64Array, field: RankOneField): RankOneFactors {
  const roots = weights.map(Math.sqrt);
  const direction = topEigenvector(weigh(gamma, roots), field);
  return fixGauge(
    {
      encoder: {
        real: direction.real.map((value, head) => value * roots[head]!),
        imag: direction.imag.map((value, head) => -value * roots[head]!),
      },
      decoder: {
        real: direction.real.map((value, head) => value / roots[head]!),
        imag: direction.imag.map((value, head) => value / roots[head]!),
      },
    },
    gamma,
  );
}

/** diag(roots) Gamma diag(roots). */
function weigh(gamma: ComplexMatrix, roots: Float64Array): ComplexMatrix {
  const weighed = (value: number, index: number) =>
    value * roots[Math.floor(index / gamma.cols)]! * roots[index % gamma.cols]!;
  return { ...gamma, real: gamma.real.map(weighed), imag: gamma.imag.map(weighed) };
}

function topEigenvector(matrix: ComplexMatrix, field: RankOneField): ComplexVector {
  const { rows, cols } = matrix;
  const firstColumn = (data: Float64Array) => Float64Array.from({ length: rows }, (_, row) => data[row * cols]!);
  if (field === 'real') {
    const { vectors } = eigSymmetric({ rows, cols, data: matrix.real });
    return { real: firstColumn(vectors.data), imag: new Float64Array(rows) };
  }
  const { vectors } = eigHermitian(matrix);
  return { real: firstColumn(vectors.real), imag: firstColumn(vectors.imag) };
}

/** Multiplies z by the complex number g that puts the factors into the gauge: a becomes g a, b becomes b / g. */
function fixGauge({ encoder, decoder }: RankOneFactors, gamma: ComplexMatrix): RankOneFactors {
  const magnitudes = decoder.real.map((real, head) => Math.hypot(real, decoder.imag[head]!));
  // A first head that takes no part in z has no phase; then the head that takes most part gives it.
  const largest = magnitudes.indexOf(Math.max(...magnitudes));
  const anchor = magnitudes[0]! > 1e-12 * magnitudes[largest]! ? 0 : largest;

  const energy = meanEnergy(gamma);
  const encodedEnergy = quadraticForm(conjugate(encoder), gamma);
  // Without energy (a key that is always zero) the scale is free; b of the anchor becomes one.
  const size = energy > 0 && encodedEnergy > 0 ? Math.sqrt(energy / encodedEnergy) : magnitudes[anchor]!;
  const gainReal = (size * decoder.real[anchor]!) / magnitudes[anchor]!;
  const gainImag = (size * decoder.imag[anchor]!) / magnitudes[anchor]!;
  const squared = size * size;
  return {
    encoder: multiplyEach(encoder, gainReal, gainImag),
    decoder: multiplyEach(decoder, gainReal / squared, -gainImag / squared),
  };
}

/** Mean of E|kappa_i|^2 over the heads. */
export function meanEnergy({ rows, cols, real }: ComplexMatrix): number {
  return trace({ rows, cols, data: real }) / rows;
}

function multiplyEach({ real, imag }: ComplexVector, byReal: number, byImag: number): ComplexVector {
  return {
    real: real.map((value, index) => value * byReal - imag[index]! * byImag),
    imag: real.map((value, index) => value * byImag + imag[index]! * byReal),
  };
}

/**
 * Rank-one factors of every frequency as real factors of t heads of width D: multiplying the pair (j, j + D/2) by c is the
 * 2 x 2 block [[Re c, -Im c], [Im c, Re c]]. Such blocks commute with RoPE, which multiplies the same pair by a unit number.
 * Transposing the block conjugates c, so the ordinary fold B^T W_Q multiplies queries by conj(b).
 *
 * @param frequencies Factors of frequency j at place j, [D/2].
 */
export function perFrequency(frequencies: readonly RankOneFactors[], numHeads: number): GroupFactors {
  const headDim = 2 * frequencies.length;
  const encoder = createMatrix(headDim, numHeads * headDim);
  const decoders = Array.from({ length: numHeads }, () => createMatrix(headDim, headDim));
  frequencies.forEach((factors, first) => {
    const second = first + headDim / 2;
    const place = (data: Float64Array, width: number, column: number, real: number, imag: number) => {
      data[first * width + column + first] = real;
      data[first * width + column + second] = -imag;
      data[second * width + column + first] = imag;
      data[second * width + column + second] = real;
    };
    decoders.forEach((decoder, head) => {
      place(encoder.data, encoder.cols, head * headDim, factors.encoder.real[head]!, factors.encoder.imag[head]!);
      place(decoder.data, headDim, 0, factors.decoder.real[head]!, factors.decoder.imag[head]!);
    });
  });
  return { encoder, decoders };
}
