import { createNormalRandom } from '@kvlr/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareLogits, expNonpositive, scoreLogits } from './logits.ts';

/** Log-softmax as in a textbook, on plain arrays. */
function logSoftmax(row: number[]): number[] {
  const total = row.reduce((sum, value) => sum + Math.exp(value), 0);
  return row.map((value) => value - Math.log(total));
}

function rowsOf(logits: Float32Array, vocabSize: number): number[][] {
  return Array.from({ length: logits.length / vocabSize }, (_, position) =>
    Array.from(logits.subarray(position * vocabSize, (position + 1) * vocabSize)),
  );
}

function naiveComparison(logits: Float32Array, baseLogits: Float32Array, targets: Int32Array, vocabSize: number) {
  const model = rowsOf(logits, vocabSize).map(logSoftmax);
  const base = rowsOf(baseLogits, vocabSize).map(logSoftmax);
  const perToken = Array.from(targets, (target, position) => ({
    model: -model[position]![target]!,
    base: -base[position]![target]!,
    kl: base[position]!.reduce((sum, logP, token) => sum + Math.exp(logP) * (logP - model[position]![token]!), 0),
    agree: Number(
      model[position]!.indexOf(Math.max(...model[position]!)) === base[position]!.indexOf(Math.max(...base[position]!)),
    ),
  }));
  const total = (key: 'model' | 'base' | 'kl' | 'agree') => perToken.reduce((sum, token) => sum + token[key], 0);
  return { model: total('model'), base: total('base'), kl: total('kl'), agreements: total('agree') };
}

function randomLogits(count: number, scale: number, seed: number): Float32Array {
  const normal = createNormalRandom(seed);
  return Float32Array.from({ length: count }, () => scale * normal());
}

const cases = fc.record({
  tokens: fc.integer({ min: 1, max: 9 }),
  vocabSize: fc.integer({ min: 2, max: 40 }),
  scale: fc.constantFrom(0.01, 1, 10),
  noise: fc.constantFrom(0, 0.01, 3),
  seed: fc.integer(),
});

describe('scoreLogits and compareLogits', () => {
  it('agree with textbook formulas on plain arrays', () => {
    fc.assert(
      fc.property(cases, ({ tokens, vocabSize, scale, noise, seed }) => {
        const baseLogits = randomLogits(tokens * vocabSize, scale, seed);
        const shift = randomLogits(tokens * vocabSize, noise, seed + 1);
        const logits = baseLogits.map((value, i) => value + shift[i]!);
        const targets = Int32Array.from({ length: tokens }, (_, position) => (position * 7 + tokens) % vocabSize);
        const expected = naiveComparison(logits, baseLogits, targets, vocabSize);
        const received = compareLogits(logits, baseLogits, targets, vocabSize);
        expect(received.negativeLogLikelihood).toBeCloseTo(expected.model, 9);
        expect(received.baseNegativeLogLikelihood).toBeCloseTo(expected.base, 9);
        expect(received.klDivergence).toBeCloseTo(expected.kl, 9);
        expect(received.topOneAgreements).toBe(expected.agreements);
        expect(scoreLogits(logits, targets, vocabSize)).toBeCloseTo(expected.model, 9);
      }),
    );
  });

  it('do not change when a constant is added to a row, however large', () => {
    const targets = Int32Array.of(1, 0);
    const plain = Float32Array.of(0, 1, 2, 3, 1, 0);
    const raised = plain.map((value, i) => value + (i < 3 ? 1024 : -4096));
    expect(scoreLogits(raised, targets, 3)).toBeCloseTo(scoreLogits(plain, targets, 3), 10);
    expect(compareLogits(raised, plain, targets, 3).klDivergence).toBeCloseTo(0, 10);
  });

  it('score uniform logits with log V', () => {
    expect(scoreLogits(new Float32Array(3 * 50), Int32Array.of(0, 20, 49), 50)).toBeCloseTo(3 * Math.log(50), 12);
  });

  it('let NaN and infinity through to the sums', () => {
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const logits = Float32Array.of(0, value, 1);
      expect(scoreLogits(logits, Int32Array.of(0), 3)).toBeNaN();
      expect(compareLogits(new Float32Array(3), logits, Int32Array.of(0), 3).klDivergence).toBeNaN();
    }
  });
});

it('agrees with Math.exp', () => {
  fc.assert(
    fc.property(fc.double({ min: -100, max: 0, noNaN: true }), (x) => {
      expect(Math.abs(expNonpositive(x) / Math.exp(x) - 1)).toBeLessThan(5e-14);
    }),
    { numRuns: 2000 },
  );
});

it('is exact at zero, vanishes far below it and passes NaN on', () => {
  expect(expNonpositive(0)).toBe(1);
  expect(expNonpositive(-1000)).toBe(0);
  expect(expNonpositive(Number.NEGATIVE_INFINITY)).toBe(0);
  expect(expNonpositive(Number.NaN)).toBeNaN();
});
