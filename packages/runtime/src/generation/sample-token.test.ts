import { createRandom } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { logProbability, penaliseRepetition, sampleToken } from './sample-token.ts';

const probabilities = [0.1, 0.4, 0.05, 0.25, 0.2];
const logits = Float32Array.from(probabilities, Math.log);

function frequencies(settings: Parameters<typeof sampleToken>[1], samples = 20000): number[] {
  const random = createRandom(4);
  const counts = probabilities.map(() => 0);
  for (let sample = 0; sample < samples; sample++) counts[sampleToken(logits, settings, random)]! += 1 / samples;
  return counts;
}

function expectFrequencies(received: number[], expected: number[]): void {
  expected.forEach((share, id) => {
    expect(Math.abs(received[id]! - share)).toBeLessThan(share === 0 ? Number.MIN_VALUE : 0.015);
  });
}

describe('sampleToken', () => {
  it('takes the greatest at temperature 0, the lower id of equals', () => {
    expect(sampleToken(logits, {}, createRandom(1))).toBe(1);
    expect(sampleToken(Float32Array.of(0, 2, 2), { temperature: 0 }, createRandom(1))).toBe(1);
  });

  it('samples from the softmax', () => {
    expectFrequencies(frequencies({ temperature: 1 }), probabilities);
  });

  it('sharpens below temperature 1', () => {
    const squares = probabilities.map((p) => p * p);
    const total = squares.reduce((sum, value) => sum + value, 0);
    expectFrequencies(
      frequencies({ temperature: 0.5 }),
      squares.map((value) => value / total),
    );
  });

  it('keeps the topK most probable', () => {
    expectFrequencies(frequencies({ temperature: 1, topK: 2 }), [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]);
  });

  it('keeps the smallest set that reaches topP', () => {
    expectFrequencies(frequencies({ temperature: 1, topP: 0.7 }), [0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85]);
  });

  it('measures topP within the topK', () => {
    // Of 0.4 and 0.25 the first holds 0.615 of the mass.
    expectFrequencies(frequencies({ temperature: 1, topK: 2, topP: 0.6 }), [0, 1, 0, 0, 0]);
  });
});

describe('penaliseRepetition', () => {
  it('makes what was seen less likely, whatever its sign, and leaves the rest', () => {
    const logits = Float32Array.of(4, -2, 3, 0);
    expect([...penaliseRepetition(logits, [0, 1], 2)]).toEqual([2, -4, 3, 0]);
    expect([...logits]).toEqual([4, -2, 3, 0]);
  });

  it('does nothing at 1', () => {
    const logits = Float32Array.of(4, -2);
    expect(penaliseRepetition(logits, [0, 1], 1)).toBe(logits);
  });
});

describe('logProbability', () => {
  it('is the logarithm of the softmax, however large the logits', () => {
    const logits = Float32Array.from([0.1, 0.2, 0.7], (p) => 500 + Math.log(p));
    expect(logProbability(logits, 1)).toBeCloseTo(Math.log(0.2), 4);
  });
});
