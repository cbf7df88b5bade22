import type { RopeParameters } from '@kvlr/core';
import { expectClose, expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
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
        const { frequencies } = ropeFrequencies({ type: 'default', theta }, headDim);
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
    const { frequencies } = ropeFrequencies({ type: 'default', theta: 10000 }, 8);
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
          const { frequencies: plain } = ropeFrequencies({ type: 'default', theta: 10000 }, headDim);
          const { frequencies: stretched } = ropeFrequencies({ type: 'linear', theta: 10000, factor }, headDim);
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
          const { frequencies: plain } = ropeFrequencies({ type: 'default', theta }, headDim);
          const { frequencies: scaled } = ropeFrequencies(
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
    const { frequencies: plain } = ropeFrequencies({ type: 'default', theta: 500000 }, 128);
    const { frequencies: scaled } = ropeFrequencies(parameters, 128);
    // Wavelength 2 pi 500000^(j / 64): below 2048 up to j = 28, above 8192 from j = 35 on.
    const ratios = plain.map((frequency, j) => frequency / scaled[j]!);
    expect(ratios.slice(0, 29).every((ratio) => ratio === 1)).toBe(true);
    expect(ratios.slice(29, 35).every((ratio) => ratio > 1 && ratio < 8)).toBe(true);
    expectClose(ratios.slice(35), new Float64Array(29).fill(8), 1e-12);
  });

  it('under dynamic scaling leaves the original context alone, and beyond it slows the last pair as much as the stretch asks', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 64 }),
        thetas,
        fc.double({ min: 1, max: 16, noNaN: true }),
        fc.integer({ min: 16, max: 8192 }),
        fc.double({ min: 1, max: 20, noNaN: true }),
        (pairs, theta, factor, original, ratio) => {
          const parameters: RopeParameters = {
            type: 'dynamic',
            theta,
            factor,
            originalMaxPositionEmbeddings: original,
          };
          const { frequencies: plain } = ropeFrequencies({ type: 'default', theta }, 2 * pairs);
          expect(ropeFrequencies(parameters, 2 * pairs).frequencies).toEqual(plain);
          expect(ropeFrequencies(parameters, 2 * pairs, { sequenceLength: original }).frequencies).toEqual(plain);
          const sequenceLength = Math.round(ratio * original);
          const { frequencies } = ropeFrequencies(parameters, 2 * pairs, { sequenceLength });
          const slower = (factor * sequenceLength) / original - factor + 1;
          expect(frequencies[0]).toBe(1);
          expect(plain.at(-1)! / frequencies.at(-1)! / slower).toBeCloseTo(1, 10);
        },
      ),
    );
  });

  it('gives the frequencies of transformers under dynamic scaling: theta 10000, factor 3, 40 tokens where 32 were trained', () => {
    const parameters: RopeParameters = { type: 'dynamic', theta: 1e4, factor: 3, originalMaxPositionEmbeddings: 32 };
    const { frequencies, attentionFactor } = ropeFrequencies(parameters, 16, { sequenceLength: 40 });
    expectClose(
      frequencies,
      [
        1, 0.29193104289869726, 0.085223733807921, 0.024879453490267343, 0.007263084804163379, 0.0021203199215410955,
        0.0006189872059743759, 0.00018070158058105027,
      ],
      1e-15,
    );
    expect(attentionFactor).toBe(1);
  });

  it('gives the frequencies of transformers under yarn', () => {
    const parameters: RopeParameters = { type: 'yarn', theta: 1e4, factor: 4, originalMaxPositionEmbeddings: 64 };
    const { frequencies, attentionFactor } = ropeFrequencies(parameters, 16);
    expectClose(
      frequencies,
      [
        1, 0.23717082451262847, 0.05, 0.007905694150420948, 0.0025, 0.0007905694150420947, 0.00025,
        7.905694150420948e-5,
      ],
      1e-15,
    );
    expect(attentionFactor).toBeCloseTo(1.138629436111989, 15);
    const other = ropeFrequencies({ ...parameters, betaFast: 8, betaSlow: 2, truncate: false }, 16);
    expectClose(
      other.frequencies,
      [
        1, 0.16058913486725895, 0.025, 0.007905694150420948, 0.0025, 0.0007905694150420947, 0.00025,
        7.905694150420948e-5,
      ],
      1e-15,
    );
  });

  it('under yarn keeps pairs that turn often over the original context and stretches those that hardly turn', () => {
    const parameters: RopeParameters = { type: 'yarn', theta: 1e6, factor: 8, originalMaxPositionEmbeddings: 4096 };
    const { frequencies: plain } = ropeFrequencies({ type: 'default', theta: 1e6 }, 128);
    const { frequencies } = ropeFrequencies(parameters, 128);
    const turns = plain.map((frequency) => (4096 * frequency) / (2 * Math.PI));
    const ratios = plain.map((frequency, j) => frequency / frequencies[j]!);
    expect(ratios.filter((_, j) => turns[j]! > 40).every((ratio) => ratio === 1)).toBe(true);
    expect(ratios.filter((_, j) => turns[j]! < 0.8).every((ratio) => Math.abs(ratio - 8) < 1e-12)).toBe(true);
    expect(ratios.every((ratio, j) => j === 0 || ratio >= ratios[j - 1]!)).toBe(true);
  });

  it.each([
    [{}, 0.1 * Math.log(40) + 1],
    [{ attentionFactor: 1.3 }, 1.3],
    // As in DeepSeek-V2: the ratio of two temperatures.
    [{ mscale: 1, mscaleAllDim: 0.8 }, (0.1 * Math.log(40) + 1) / (0.08 * Math.log(40) + 1)],
    [{ mscale: 1, mscaleAllDim: 1 }, 1],
    [{ mscale: 2 }, 0.1 * Math.log(40) + 1],
    [{ factor: 1 }, 1],
  ])('takes the attention factor of yarn from %j', (settings, expected) => {
    const base = { type: 'yarn' as const, theta: 1e4, factor: 40, originalMaxPositionEmbeddings: 4096 };
    expect(ropeFrequencies({ ...base, ...settings }, 64).attentionFactor).toBeCloseTo(expected, 14);
  });

  it('under longrope divides each pair by its own factor, of the list that the length of the sequence asks for', () => {
    const parameters: RopeParameters = {
      type: 'longrope',
      theta: 1e4,
      factor: 2,
      originalMaxPositionEmbeddings: 32,
      shortFactor: [1, 1.1, 1.2, 1.3],
      longFactor: [1.5, 2.2, 2.9, 3.6],
    };
    const short = ropeFrequencies(parameters, 8, { sequenceLength: 32 });
    expectClose(short.frequencies, [1, 0.1 / 1.1, 0.01 / 1.2, 0.001 / 1.3], 1e-15);
    expect(ropeFrequencies(parameters, 8)).toEqual(short);
    const long = ropeFrequencies(parameters, 8, { sequenceLength: 33 });
    expectClose(long.frequencies, [1 / 1.5, 0.1 / 2.2, 0.01 / 2.9, 0.001 / 3.6], 1e-15);
    // sqrt(1 + ln 2 / ln 32) = sqrt(1.2), whatever the length.
    expect(short.attentionFactor).toBeCloseTo(Math.sqrt(1.2), 15);
    expect(long.attentionFactor).toBe(short.attentionFactor);
    expect(ropeFrequencies({ ...parameters, factor: 1 }, 8).attentionFactor).toBe(1);
    expect(ropeFrequencies({ ...parameters, attentionFactor: 1.19 }, 8).attentionFactor).toBe(1.19);
    expectKvlrError(() => ropeFrequencies(parameters, 6), 'invalid-argument', /^shortFactor: expected 3 .*got 4/);
  });

  it('refuses odd widths and parameters that are missing or out of range', () => {
    expectKvlrError(
      () => ropeFrequencies({ type: 'default', theta: 1e4 }, 7),
      'invalid-argument',
      /^rotaryDim: expected an even number.*got 7/,
    );
    expectKvlrError(() => ropeFrequencies({ type: 'default', theta: -1 }, 8), 'invalid-argument', /^theta: .*-1/);
    expectKvlrError(
      () => ropeFrequencies({ type: 'linear', theta: 1e4, factor: Number.NaN }, 8),
      'invalid-argument',
      /^factor: .*NaN/,
    );
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
