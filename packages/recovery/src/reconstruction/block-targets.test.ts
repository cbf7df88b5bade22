import { MemoryStreamStore } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { BlockTargets, tokenWeights } from './block-targets.ts';

describe('what an error counts', () => {
  const stream = Float32Array.of(1, 1, 1000, 1000, 0, 0, Number.NaN, 1);

  it('is the same for tokens of any norm, and nothing for tokens that are no numbers', () => {
    expect([...tokenWeights(stream, 2)]).toEqual([1, Math.fround(1e-6), 0, 0]);
  });

  it('is a share of what the block adds, and of the stream where it adds nothing', async () => {
    const target = stream.slice(0, 6);
    const unitBehind = async (before: Float32Array) => {
      const targets = new BlockTargets(2, new MemoryStreamStore());
      await targets.add(0, before, target);
      return targets.pairs(new MemoryStreamStore()).unit;
    };
    // A hundredth of each token is added.
    expect(await unitBehind(Float32Array.of(0.99, 0.99, 990, 990, 0, 0))).toBeCloseTo(4e-4, 9);
    expect(await unitBehind(target)).toBe(6);
    expect(await unitBehind(Float32Array.of(1 + 2 ** -22, 1, 1000, 1000, 0, 0))).toBe(6);
  });
});
