import { type ComplexMatrix, eigHermitian, eigSymmetric } from '@kvlr/linalg';

export interface ComplexVector {
  real: Float64Array;
  imag: Float64Array;
}

/** Rank-one factors of t complex numbers: kappa_i ~ b_i z with z = sum of a_i kappa_i. a is the encoder, b the decoder. */
export interface Phasor {
  encoder: ComplexVector;
  decoder: ComplexVector;
}

/** 'real': the heads of a group are mixed without phases, as in TransMLA's rotation across heads (arXiv 2502.07864). */
export type PhasorField = 'complex' | 'real';

/**
 * The factors that minimise the sum of w_i E|kappa_i - b_i z|^2: with u the top eigenvector of
 * diag(w)^(1/2) Gamma diag(w)^(1/2), a_i = conj(u_i) sqrt(w_i) and b_i = u_i / sqrt(w_i).
 * Gauge: the first b is real and positive, E|z|^2 is the mean energy of the heads.
 *
 * @param gamma Gamma = E[kappa kappa^H], [t, t].
 * @param weights w, all positive, [t].
 */
export function fitPhasor(gamma: ComplexMatrix, weights: Float64Array, field: PhasorField): Phasor {
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
export function weigh(gamma: ComplexMatrix, roots: Float64Array): ComplexMatrix {
  const scale = (value: number, index: number) =>
    value * roots[Math.floor(index / gamma.cols)]! * roots[index % gamma.cols]!;
  return { ...gamma, real: gamma.real.map(scale), imag: gamma.imag.map(scale) };
}

function topEigenvector(matrix: ComplexMatrix, field: PhasorField): ComplexVector {
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
function fixGauge({ encoder, decoder }: Phasor, gamma: ComplexMatrix): Phasor {
  const heads = gamma.rows;
  const magnitudes = decoder.real.map((real, head) => Math.hypot(real, decoder.imag[head]!));
  // A first head that takes no part in z has no phase; then the head that takes most part gives it.
  const largest = magnitudes.indexOf(Math.max(...magnitudes));
  const anchor = magnitudes[0]! > 1e-12 * magnitudes[largest]! ? 0 : largest;

  let energy = 0;
  let encodedEnergy = 0;
  for (let row = 0; row < heads; row++) {
    energy += gamma.real[row * heads + row]! / heads;
    for (let column = 0; column < heads; column++) {
      const place = row * heads + column;
      const productReal = encoder.real[row]! * encoder.real[column]! + encoder.imag[row]! * encoder.imag[column]!;
      const productImag = encoder.imag[row]! * encoder.real[column]! - encoder.real[row]! * encoder.imag[column]!;
      encodedEnergy += productReal * gamma.real[place]! - productImag * gamma.imag[place]!;
    }
  }
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

function multiplyEach({ real, imag }: ComplexVector, byReal: number, byImag: number): ComplexVector {
  return {
    real: real.map((value, index) => value * byReal - imag[index]! * byImag),
    imag: real.map((value, index) => value * byImag + imag[index]! * byReal),
  };
}
