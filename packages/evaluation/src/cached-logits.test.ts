import { describe, expect, it } from 'vitest';
import { cachedLogits } from './cached-logits.ts';

function countingSource(vocabSize = 2) {
  const seen: string[] = [];
  return {
    seen,
    vocabSize,
    logits: async (tokenIds: Int32Array) => {
      seen.push(tokenIds.join(' '));
      return new Float32Array(tokenIds.length * vocabSize).fill(tokenIds[0]!);
    },
  };
}

describe('cachedLogits', () => {
  it('runs the source once per window and gives the same numbers', async () => {
    const source = countingSource();
    const cached = cachedLogits(source);
    const first = await cached.logits(Int32Array.of(3, 1));
    expect(await cached.logits(Int32Array.of(3, 1))).toEqual(first);
    expect(await cached.logits(Int32Array.of(31))).toEqual(Float32Array.of(31, 31));
    expect(source.seen).toEqual(['3 1', '31']);
    expect(cached.cachedBytes).toBe(4 * 3 * 2);
  });

  it('shares one run between callers that ask at the same time', async () => {
    const source = countingSource();
    const cached = cachedLogits(source);
    await Promise.all([cached.logits(Int32Array.of(5)), cached.logits(Int32Array.of(5))]);
    expect(source.seen).toEqual(['5']);
  });

  it('keeps the first windows when the limit is reached, so that repeated scans still hit', async () => {
    const source = countingSource();
    const cached = cachedLogits(source, { maxBytes: 16 });
    for (let scan = 0; scan < 2; scan++) for (const id of [1, 2, 3]) await cached.logits(Int32Array.of(id));
    expect(source.seen).toEqual(['1', '2', '3', '3']);
    expect(cached.cachedBytes).toBe(16);
  });

  it('asks again after a failure and after clear', async () => {
    let failures = 1;
    const source = countingSource();
    const cached = cachedLogits({
      vocabSize: 2,
      logits: async (ids) => {
        if (failures-- > 0) throw new Error('device lost');
        return source.logits(ids);
      },
    });
    await expect(cached.logits(Int32Array.of(1))).rejects.toThrow('device lost');
    expect(cached.cachedBytes).toBe(0);
    await cached.logits(Int32Array.of(1));
    cached.clear();
    await cached.logits(Int32Array.of(1));
    expect(source.seen).toEqual(['1', '1']);
  });
});
