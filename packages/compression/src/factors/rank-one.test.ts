import { createNormalRandom } from '@kvlr/core';
import { type ComplexMatrix, type ComplexVector, createComplexMatrix } from '@kvlr/linalg';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fitRankOne } from './rank-one.ts';

/** A random complex second moment of t heads, from samples with unequal energies. */
function randomGamma(heads: number, seed: number): ComplexMatrix {
  const normal = createNormalRandom(seed);
  const gamma = createComplexMatrix(heads, heads);
  for (let sample = 0; sample < heads + 2; sample++) {
    const real = Array.from({ length: heads }, (_, head) => normal() * (1 + head));
    const imag = Array.from({ length: heads }, (_, head) => normal() * (1 + head));
    for (let i = 0; i < heads; i++) {
      for (let k = 0; k < heads; k++) {
        gamma.real[i * heads + k]! += real[i]! * real[k]! + imag[i]! * imag[k]!;
        gamma.imag[i * heads + k]! += imag[i]! * real[k]! - real[i]! * imag[k]!;
      }
    }
  }
  return gamma;
}

/** sum_i w_i E|kappa_i - b_i sum_k a_k kappa_k|^2, written out from the definition. */
function weightedError(gamma: ComplexMatrix, weights: Float64Array, a: ComplexVector, b: ComplexVector): number {
  const heads = gamma.rows;
  let error = 0;
  for (let i = 0; i < heads; i++) {
    // Row i of I - b a^T, whose product with kappa is the error of head i.
    const real = Array.from(
      { length: heads },
      (_, k) => (i === k ? 1 : 0) - (b.real[i]! * a.real[k]! - b.imag[i]! * a.imag[k]!),
    );
    const imag = Array.from({ length: heads }, (_, k) => -(b.real[i]! * a.imag[k]! + b.imag[i]! * a.real[k]!));
    for (let k = 0; k < heads; k++) {
      for (let l = 0; l < heads; l++) {
        const productReal = real[k]! * real[l]! + imag[k]! * imag[l]!;
        const productImag = imag[k]! * real[l]! - real[k]! * imag[l]!;
        error += weights[i]! * (productReal * gamma.real[k * heads + l]! - productImag * gamma.imag[k * heads + l]!);
      }
    }
  }
  return error;
}

function encodedEnergy(gamma: ComplexMatrix, a: ComplexVector): number {
  const heads = gamma.rows;
  let energy = 0;
  for (let k = 0; k < heads; k++) {
    for (let l = 0; l < heads; l++) {
      energy += (a.real[k]! * a.real[l]! + a.imag[k]! * a.imag[l]!) * gamma.real[k * heads + l]!;
      energy -= (a.imag[k]! * a.real[l]! - a.real[k]! * a.imag[l]!) * gamma.imag[k * heads + l]!;
    }
  }
  return energy;
}

const cases = fc.record({ heads: fc.integer({ min: 1, max: 5 }), seed: fc.nat(1e6) });
const randomWeights = (heads: number, seed: number) => {
  const normal = createNormalRandom(seed + 1);
  return Float64Array.from({ length: heads }, () => Math.exp(normal()));
};

describe('fitRankOne', () => {
  it('has no better neighbour and no better random rival', () => {
    fc.assert(
      fc.property(cases, fc.constantFrom(0.01, 0.3, 3), ({ heads, seed }, step) => {
        const gamma = randomGamma(heads, seed);
        const weights = randomWeights(heads, seed);
        const { encoder, decoder } = fitRankOne(gamma, weights, 'complex');
        const best = weightedError(gamma, weights, encoder, decoder);
        const normal = createNormalRandom(seed + 2);
        const shake = ({ real, imag }: ComplexVector) => ({
          real: real.map((value) => value + step * normal()),
          imag: imag.map((value) => value + step * normal()),
        });
        for (let rival = 0; rival < 20; rival++) {
          const error = weightedError(gamma, weights, shake(encoder), shake(decoder));
          expect(error).toBeGreaterThanOrEqual(best - 1e-9 * Math.max(1, error));
        }
      }),
    );
  });

  it('is in the gauge: first decoder real and positive, energy of the shared key the mean energy', () => {
    fc.assert(
      fc.property(cases, fc.constantFrom('complex' as const, 'real' as const), ({ heads, seed }, field) => {
        const gamma = randomGamma(heads, seed);
        const { encoder, decoder } = fitRankOne(gamma, randomWeights(heads, seed), field);
        expect(decoder.real[0]).toBeGreaterThan(0);
        expect(Math.abs(decoder.imag[0]!)).toBeLessThan(1e-12 * decoder.real[0]!);
        let mean = 0;
        for (let head = 0; head < heads; head++) mean += gamma.real[head * heads + head]! / heads;
        expect(encodedEnergy(gamma, encoder) / mean).toBeCloseTo(1, 10);
      }),
    );
  });

  it('leaves a single head as it is', () => {
    const { encoder, decoder } = fitRankOne(randomGamma(1, 3), Float64Array.of(7), 'complex');
    for (const { real, imag } of [encoder, decoder]) {
      expect(real[0]).toBeCloseTo(1, 12);
      expect(imag[0]).toBeCloseTo(0, 12);
    }
  });

  it('stays finite without energy, and when the first head is silent', () => {
    const silent = fitRankOne(createComplexMatrix(3, 3), Float64Array.of(1, 1, 1), 'complex');
    const half = createComplexMatrix(2, 2);
    half.real[3] = 4;
    const one = fitRankOne(half, Float64Array.of(1, 1), 'complex');
    for (const { real, imag } of [silent.encoder, silent.decoder, one.encoder, one.decoder]) {
      expect([...real, ...imag].every(Number.isFinite)).toBe(true);
    }
    expect(one.decoder.real[1]! * one.encoder.real[1]!).toBeCloseTo(1, 12);
  });

  it('gains from phases and from weights', () => {
    const gamma = randomGamma(4, 11);
    const weights = Float64Array.of(1, 20, 0.1, 3);
    const error = (fit: ReturnType<typeof fitRankOne>) => weightedError(gamma, weights, fit.encoder, fit.decoder);
    const best = error(fitRankOne(gamma, weights, 'complex'));
    expect(best).toBeLessThan(error(fitRankOne(gamma, weights, 'real')));
    expect(best).toBeLessThan(error(fitRankOne(gamma, Float64Array.of(1, 1, 1, 1), 'complex')));
  });
});
