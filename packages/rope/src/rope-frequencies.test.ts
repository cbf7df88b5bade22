import type { RopeParameters } from '@kvlr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { expectKvlrError } from '../test-support/expect-kvlr-error.ts';
import { ropeFrequencies } from './rope-frequencies.ts';

/**
 * Llama 3.1's rule in the form of Meta's release: by wavelength, three cases, blended between the two bounds. Written
 * down anew from the published description, without the code under test.
 */
function llama3ByWavelength(frequency: number, factor: number, low: number, high: number, context: number): number {
  const wavelength = (2 * Math.PI) / frequency;
  if (wavelength < context / high) return frequency;
  if (wavelength > context / low) return frequency / factor;
  const smooth = (context / wavelength - low) / (high - low);
  return (1 - smooth) * (frequency / factor) + smooth * frequency;
}

const headDims = fc.integer({ min: 1, max: 64 }).map((pairs) => 2 * pairs);
const thetas = fc.double({ min: 10, max: 1e7, noNaN: true });

describe('ropeFrequencies', () => {
  it('falls from one turn per 2 pi positions by a constant ratio whose headDim / 2-th power is theta', () => {
    fc.assert(
      fc.property(headDims, thetas, (headDim, theta) => {
        const frequencies = ropeFrequencies({ type: 'default', theta }, headDim);
        const ratio = Math.exp(-Math.log(theta) / (headDim / 2));
        expect(frequencies.length).toBe(headDim / 2);
        let expected = 1;
        for (const frequency of frequencies) {
          expect(Math.abs(frequency / expected - 1)).toBeLessThan(1e-12);
          expected *= ratio;
        }
      }),
    );
  });

  it('gives the values that follow by hand for theta 10000 and width 8', () => {
    const frequencies = ropeFrequencies({ type: 'default', theta: 10000 }, 8);
    [1, 0.1, 0.01, 0.001].forEach((expected, j) => {
      expect(frequencies[j]).toBeCloseTo(expected, 15);
    });
  });

  it('under linear scaling turns position factor * n as far as position n without', () => {
    fc.assert(
      fc.property(
        headDims,
        fc.double({ min: 0.5, max: 32, noNaN: true }),
        fc.nat(4096),
        (headDim, factor, position) => {
          const plain = ropeFrequencies({ type: 'default', theta: 10000 }, headDim);
          const stretched = ropeFrequencies({ type: 'linear', theta: 10000, factor }, headDim);
          plain.forEach((frequency, j) => {
            expect(stretched[j]! * factor * position).toBeCloseTo(frequency * position, 8);
          });
        },
      ),
    );
  });

  it('under llama3 scaling agrees with the rule by wavelength', () => {
    fc.assert(
      fc.property(
        headDims,
        thetas,
        fc.double({ min: 1, max: 64, noNaN: true }),
        fc.double({ min: 0.5, max: 4, noNaN: true }),
        fc.double({ min: 0.1, max: 8, noNaN: true }),
        fc.integer({ min: 64, max: 131072 }),
        (headDim, theta, factor, low, gap, context) => {
          const plain = ropeFrequencies({ type: 'default', theta }, headDim);
          const scaled = ropeFrequencies(
            {
              type: 'llama3',
              theta,
              factor,
              lowFrequencyFactor: low,
              highFrequencyFactor: low + gap,
              originalMaxPositionEmbeddings: context,
            },
            headDim,
          );
          plain.forEach((frequency, j) => {
            const expected = llama3ByWavelength(frequency, factor, low, low + gap, context);
            expect(Math.abs(scaled[j]! / expected - 1)).toBeLessThan(1e-12);
          });
        },
      ),
    );
  });

  it('with the parameters of Llama 3.1 8B keeps the fast pairs and slows the slow ones eightfold', () => {
    const parameters: RopeParameters = {
      type: 'llama3',
      theta: 500000,
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalMaxPositionEmbeddings: 8192,
    };
    const plain = ropeFrequencies({ type: 'default', theta: 500000 }, 128);
    const scaled = ropeFrequencies(parameters, 128);
    // Wavelength 2 pi 500000^(j / 64): below 2048 up to j = 28, above 8192 from j = 35 on.
    for (let j = 0; j < 64; j += 1) {
      const ratio = plain[j]! / scaled[j]!;
      if (j <= 28) expect(ratio).toBe(1);
      else if (j >= 35) expect(ratio).toBeCloseTo(8, 12);
      else expect(ratio > 1 && ratio < 8).toBe(true);
    }
  });

  it('refuses odd widths and parameters that are missing or out of range', () => {
    expectKvlrError(() => ropeFrequencies({ type: 'default', theta: 1e4 }, 7), 'invalid-argument', /even.*got 7/);
    expectKvlrError(() => ropeFrequencies({ type: 'default', theta: -1 }, 8), 'invalid-argument', /theta.*-1/);
    expectKvlrError(() => ropeFrequencies({ type: 'linear', theta: 1e4 }, 8), 'invalid-argument', /factor.*undefined/);
    const reversed: RopeParameters = {
      type: 'llama3',
      theta: 1e4,
      factor: 8,
      lowFrequencyFactor: 4,
      highFrequencyFactor: 1,
      originalMaxPositionEmbeddings: 8192,
    };
    expectKvlrError(() => ropeFrequencies(reversed, 8), 'invalid-argument', /highFrequencyFactor above/);
  });
});
