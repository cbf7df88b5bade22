import { createNormalRandom } from '@kvlr/core';
import { type ComplexMatrix, type ComplexVector, createComplexMatrix } from '@kvlr/linalg';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fitPhasors, type PhasorFactors } from './phasors.ts';

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

/** sum_i w_i E|kappa_i - sum_r b_ir sum_k a_kr kappa_k|^2, written out from the definition. */
function weightedError(gamma: ComplexMatrix, weights: Float64Array, numbers: readonly PhasorFactors[]): number {
  const heads = gamma.rows;
  let error = 0;
  for (let i = 0; i < heads; i++) {
    // Row i of I - B A^T, whose product with kappa is the error of head i.
    const real = Array.from({ length: heads }, (_, k) => (i === k ? 1 : 0));
    const imag = Array.from({ length: heads }, () => 0);
    for (const { encoder: a, decoder: b } of numbers) {
      for (let k = 0; k < heads; k++) {
        real[k]! -= b.real[i]! * a.real[k]! - b.imag[i]! * a.imag[k]!;
        imag[k]! -= b.real[i]! * a.imag[k]! + b.imag[i]! * a.real[k]!;
      }
    }
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

const cases = fc
  .record({ heads: fc.integer({ min: 1, max: 5 }), most: fc.integer({ min: 1, max: 3 }), seed: fc.nat(1e6) })
  .map(({ heads, most, seed }) => ({ heads, count: Math.min(heads, most), seed }));
const randomWeights = (heads: number, seed: number) => {
  const normal = createNormalRandom(seed + 1);
  return Float64Array.from({ length: heads }, () => Math.exp(normal()));
};

describe('fitPhasors', () => {
  it('has no better neighbour and no better random rival', () => {
    fc.assert(
      fc.property(cases, fc.constantFrom(0.01, 0.3, 3), ({ heads, count, seed }, step) => {
        const gamma = randomGamma(heads, seed);
        const weights = randomWeights(heads, seed);
        const numbers = fitPhasors(gamma, weights, 'complex', count);
        const best = weightedError(gamma, weights, numbers);
        const normal = createNormalRandom(seed + 2);
        const shake = ({ real, imag }: ComplexVector) => ({
          real: real.map((value) => value + step * normal()),
          imag: imag.map((value) => value + step * normal()),
        });
        for (let rival = 0; rival < 20; rival++) {
          const rivals = numbers.map(({ encoder, decoder }) => ({ encoder: shake(encoder), decoder: shake(decoder) }));
          const error = weightedError(gamma, weights, rivals);
          expect(error).toBeGreaterThanOrEqual(best - 1e-9 * Math.max(1, error));
        }
      }),
    );
  });

  it('is in the gauge: first decoder real and positive, energy of each shared number the mean energy', () => {
    fc.assert(
      fc.property(cases, fc.constantFrom('complex' as const, 'real' as const), ({ heads, count, seed }, field) => {
        const gamma = randomGamma(heads, seed);
        const numbers = fitPhasors(gamma, randomWeights(heads, seed), field, count);
        expect(numbers.length).toBe(count);
        let mean = 0;
        for (let head = 0; head < heads; head++) mean += gamma.real[head * heads + head]! / heads;
        for (const { encoder, decoder } of numbers) {
          expect(decoder.real[0]).toBeGreaterThan(0);
          expect(Math.abs(decoder.imag[0]!)).toBeLessThan(1e-9 * decoder.real[0]!);
          expect(encodedEnergy(gamma, encoder) / mean).toBeCloseTo(1, 9);
        }
      }),
    );
  });

  it('loses nothing with as many numbers as heads', () => {
    const gamma = randomGamma(4, 5);
    const numbers = fitPhasors(gamma, randomWeights(4, 5), 'complex', 4);
    expect(weightedError(gamma, randomWeights(4, 5), numbers)).toBeLessThan(1e-10);
  });

  it('keeps numbers without energy in range', () => {
    const gamma = createComplexMatrix(2, 2);
    gamma.real.set([1, 1, 1, 1 + 1e-14]);
    const [, second] = fitPhasors(gamma, Float64Array.of(1, 1), 'complex', 2);
    expect(Math.max(...second!.encoder.real.map(Math.abs))).toBeLessThan(1e5);
  });

  it('leaves a single head as it is', () => {
    const { encoder, decoder } = fitPhasors(randomGamma(1, 3), Float64Array.of(7), 'complex', 1)[0]!;
    for (const { real, imag } of [encoder, decoder]) {
      expect(real[0]).toBeCloseTo(1, 12);
      expect(imag[0]).toBeCloseTo(0, 12);
    }
  });

  it('stays finite without energy, and when the first head is silent', () => {
    const silent = fitPhasors(createComplexMatrix(3, 3), Float64Array.of(1, 1, 1), 'complex', 1)[0]!;
    const half = createComplexMatrix(2, 2);
    half.real[3] = 4;
    const one = fitPhasors(half, Float64Array.of(1, 1), 'complex', 1)[0]!;
    for (const { real, imag } of [silent.encoder, silent.decoder, one.encoder, one.decoder]) {
      expect([...real, ...imag].every(Number.isFinite)).toBe(true);
    }
    expect(one.decoder.real[1]! * one.encoder.real[1]!).toBeCloseTo(1, 12);
  });

  it('gains from phases and from weights', () => {
    const gamma = randomGamma(4, 11);
    const weights = Float64Array.of(1, 20, 0.1, 3);
    const error = (fit: readonly PhasorFactors[]) => weightedError(gamma, weights, fit);
    const best = error(fitPhasors(gamma, weights, 'complex', 1));
    expect(best).toBeLessThan(error(fitPhasors(gamma, weights, 'real', 1)));
    expect(best).toBeLessThan(error(fitPhasors(gamma, Float64Array.of(1, 1, 1, 1), 'complex', 1)));
  });
});
