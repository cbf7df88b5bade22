import { createNormalRandom } from '@kvlr/core';
import { createMatrix, type Matrix, multiply, multiplyTransposed } from '@kvlr/linalg';
import { expectClose } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { rotationAverages } from '../factors/rotation-averages.ts';
import { lostScoreShare, type ScoreProblem } from '../factors/scores.ts';
import { meanPoolFactors } from '../factors/subspace.ts';
import type { GroupFactors } from '../ports.ts';
import { joinSlowPairs } from './keys.ts';

const headDim = 6;
const normal = createNormalRandom(5);

function randomMoment(size: number): Matrix {
  const samples = createMatrix(
    size,
    size + 3,
    Float64Array.from({ length: size * (size + 3) }, () => normal()),
  );
  return multiplyTransposed(samples, samples);
}

function problemOf(heads: number, frequencies: Float64Array): ScoreProblem {
  return {
    moment: randomMoment(heads * headDim),
    queryMoments: Array.from({ length: heads }, () => randomMoment(headDim)),
    averages: rotationAverages(frequencies, 20),
  };
}

/** What the factors make of the keys: the product of each decoder and the encoder. */
function products({ encoder, decoders }: GroupFactors): Matrix[] {
  return decoders.map((decoder) => multiply(decoder, encoder));
}

describe('joinSlowPairs', () => {
  it('leaves a single head as it is', () => {
    const start = meanPoolFactors(1, headDim);
    const joined = joinSlowPairs(problemOf(1, Float64Array.of(1, 0.1, 0.01)), start, 1);
    expectClose(joined.encoder.data, start.encoder.data, 1e-6);
    expectClose(joined.decoders[0]!.data, start.decoders[0]!.data, 1e-6);
  });

  it('changes the slow pairs alone', () => {
    const start = meanPoolFactors(3, headDim);
    const joined = joinSlowPairs(problemOf(3, Float64Array.of(1, 0.1, 0.01)), start, 2);
    const isSlow = (row: number) => row % 3 === 2;
    products(joined).forEach(({ data, cols }, head) => {
      const before = products(start)[head]!;
      data.forEach((value, index) => {
        const [row, column] = [Math.floor(index / cols), index % cols];
        if (isSlow(row) && isSlow(column)) return;
        expect(value).toBeCloseTo(before.data[index]!, 12);
      });
    });
    expect(joined.encoder.data).not.toEqual(start.encoder.data);
  });

  it('gains without rotation, and cannot when pairs rotate fast', () => {
    const still = problemOf(3, Float64Array.of(0, 0, 0));
    const start = meanPoolFactors(3, headDim);
    expect(lostScoreShare(still, joinSlowPairs(still, start, 0))).toBeLessThan(0.8 * lostScoreShare(still, start));
    const fast = { ...still, averages: rotationAverages(Float64Array.of(2.9, 1.7, 0.9), 2000) };
    const joined = joinSlowPairs(still, start, 0);
    expect(lostScoreShare(fast, joined)).toBeGreaterThan(1.2 * lostScoreShare(still, joined));
  });
});
