import {
  type ComplexMatrix,
  type ComplexVector,
  conjugate,
  createMatrix,
  eigHermitian,
  eigSymmetric,
  type Matrix,
  quadraticForm,
  trace,
} from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';

/** One complex number z = sum of a_i kappa_i that t heads share: it stands for b_i z in head i. a is the encoder, b the decoder. */
export interface PhasorFactors {
  encoder: ComplexVector;
  decoder: ComplexVector;
}

/** 'real': the heads of a group are mixed without phases, as in TransMLA's rotation across heads (arXiv 2502.07864). */
export type PhasorField = 'complex' | 'real';

/**
 * The m numbers z_r that t heads share best: they minimise the sum of w_i E|kappa_i - sum_r b_ir z_r|^2. With u_r the top m
 * eigenvectors of diag(w)^(1/2) Gamma diag(w)^(1/2), a_ir = conj(u_ir) sqrt(w_i) and b_ir = u_ir / sqrt(w_i).
 * Gauge: the first b of each z_r is real and positive, E|z_r|^2 is the mean energy of the heads.
 *
 * @param gamma Gamma = E[kappa kappa^H], [t, t].
 * @param weights w, all positive, [t].
 * @param count m, at most t.
 */
export function fitPhasors(
  gamma: ComplexMatrix,
  weights: Float64Array,
  field: PhasorField,
  count: number,
): PhasorFactors[] {
  const roots = weights.map(Math.sqrt);
  return topEigenvectors(weigh(gamma, roots), field, count).map((direction) =>
    fixGauge(
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
    ),
  );
}

/** diag(roots) Gamma diag(roots). */
function weigh(gamma: ComplexMatrix, roots: Float64Array): ComplexMatrix {
  const weighed = (value: number, index: number) =>
    value * roots[Math.floor(index / gamma.cols)]! * roots[index % gamma.cols]!;
  return { ...gamma, real: gamma.real.map(weighed), imag: gamma.imag.map(weighed) };
}

function topEigenvectors(matrix: ComplexMatrix, field: PhasorField, count: number): ComplexVector[] {
  const { rows, cols } = matrix;
  const columns = (data: Float64Array) =>
    Array.from({ length: count }, (_, column) =>
      Float64Array.from({ length: rows }, (__, row) => data[row * cols + column]!),
    );
  if (field === 'real') {
    const { vectors } = eigSymmetric({ rows, cols, data: matrix.real });
    return columns(vectors.data).map((real) => ({ real, imag: new Float64Array(rows) }));
  }
  const { vectors } = eigHermitian(matrix);
  const imag = columns(vectors.imag);
  return columns(vectors.real).map((real, place) => ({ real, imag: imag[place]! }));
}

/** A number with less than this share of the mean energy of the heads is scaled as if it had as much. */
const leastEnergy = 1e-8;

/** Multiplies z by the complex number g that puts the factors into the gauge: a becomes g a, b becomes b / g. */
function fixGauge({ encoder, decoder }: PhasorFactors, gamma: ComplexMatrix): PhasorFactors {
  const magnitudes = decoder.real.map((real, head) => Math.hypot(real, decoder.imag[head]!));
  // A first head that takes no part in z has no phase; then the head that takes most part gives it.
  const largest = magnitudes.indexOf(Math.max(...magnitudes));
  const anchor = magnitudes[0]! > 1e-12 * magnitudes[largest]! ? 0 : largest;

  const energy = meanEnergy(gamma);
  const encodedEnergy = quadraticForm(conjugate(encoder), gamma);
  // Without energy (a key that is always zero) the scale is free; b of the anchor becomes one.
  const size =
    energy > 0 && encodedEnergy > 0
      ? Math.sqrt(energy / Math.max(encodedEnergy, leastEnergy * energy))
      : magnitudes[anchor]!;
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
 * The numbers that t heads share at every frequency as real factors of heads of width D, the shared one m D wide: number r of
 * frequency j lies at the pair (p, p + m D/2), p = r D/2 + j. Multiplying a pair by c is the 2 x 2 block
 * [[Re c, -Im c], [Im c, Re c]]. Such blocks commute with RoPE, which multiplies all pairs of frequency j by the same unit
 * number. Transposing the block conjugates c, so the ordinary fold B^T W_Q multiplies queries by conj(b).
 *
 * @param frequencies The m numbers of frequency j at place j, [D/2].
 */
export function perFrequency(frequencies: readonly (readonly PhasorFactors[])[], numHeads: number): GroupFactors {
  const half = frequencies.length;
  const headDim = 2 * half;
  const wideHalf = half * frequencies[0]!.length;
  const encoder = createMatrix(2 * wideHalf, numHeads * headDim);
  const decoders = Array.from({ length: numHeads }, () => createMatrix(headDim, 2 * wideHalf));
  frequencies.forEach((numbers, frequency) => {
    numbers.forEach((factors, r) => {
      const shared = { first: r * half + frequency, second: r * half + frequency + wideHalf };
      for (let head = 0; head < numHeads; head++) {
        const first = head * headDim + frequency;
        const [a, b] = [factors.encoder, factors.decoder];
        placePhasor(encoder, shared, { first, second: first + half }, a.real[head]!, a.imag[head]!);
        const own = { first: frequency, second: frequency + half };
        placePhasor(decoders[head]!, own, shared, b.real[head]!, b.imag[head]!);
      }
    });
  });
  return { encoder, decoders };
}

/** Rows or columns of the two numbers of a pair. */
interface PairPlaces {
  first: number;
  second: number;
}

function placePhasor({ data, cols }: Matrix, to: PairPlaces, from: PairPlaces, real: number, imag: number): void {
  data[to.first * cols + from.first] = real;
  data[to.first * cols + from.second] = -imag;
  data[to.second * cols + from.first] = imag;
  data[to.second * cols + from.second] = real;
}
