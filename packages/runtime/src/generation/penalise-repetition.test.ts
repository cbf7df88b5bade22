import { describe, expect, it } from 'vitest';
import { logProbability } from './log-probability.ts';
import { penaliseRepetition } from './penalise-repetition.ts';

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
