import type { DecoderShape } from '@kvlr/core';
import { type WeightFormat, weightFormats } from '@kvlr/kernels';
import { createTinyModel } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { decodeBytes, largestBatch, weightBytes } from './formulas.ts';
import { smolMultiHeadShape, withKeyValueHeads } from './random-model.ts';

describe('weightBytes', () => {
  it('is four bytes a parameter in f32, where rows need no padding', () => {
    const model = createTinyModel({ hiddenSize: 32, intermediateSize: 64 });
    const parameters = [...model.dense.values()].reduce((sum, { data }) => sum + data.length, 0);
    expect(weightBytes(model.shape, 'f32')).toBe(4 * parameters);
  });

  it('counts a tied head once', () => {
    const tied = createTinyModel({ hiddenSize: 32, tieWordEmbeddings: true }).shape;
    const untied = createTinyModel({ hiddenSize: 32 }).shape;
    expect(weightBytes(untied, 'f32') - weightBytes(tied, 'f32')).toBe(4 * 50 * 32);
  });

  it('falls with every smaller format', () => {
    const bytes = weightFormats.map((format: WeightFormat) => weightBytes(smolMultiHeadShape, format));
    expect(bytes).toEqual([...bytes].sort((a, b) => b - a));
    // 106.7 million numbers of matrices in halves, and vectors.
    expect(bytes[1]! / bytes[0]!).toBeCloseTo(0.5, 3);
  });
});

describe('decodeBytes', () => {
  const bytesAt = (shape: DecoderShape, context: number, batch = 1) =>
    decodeBytes(shape, { weights: 'f16', cache: 'f16', context, batch });

  it('grows with the context by what an entry takes', () => {
    // 30 layers x (keys + values) x 8 heads x 72 numbers x 2 bytes.
    expect(bytesAt(smolMultiHeadShape, 8192) - bytesAt(smolMultiHeadShape, 8191)).toBe(30 * 2 * 8 * 72 * 2);
  });

  it('reads matrices once for a batch, and a cache for every sequence', () => {
    const entries = 1000 * 30 * 2 * 8 * 72 * 2;
    const row = 576 * 2;
    expect(bytesAt(smolMultiHeadShape, 1000, 4) - bytesAt(smolMultiHeadShape, 1000, 1)).toBe(3 * (entries + row));
  });

  it('has a quarter of the cache with a quarter of the heads', () => {
    const growth = (heads: number) => {
      const shape = withKeyValueHeads(smolMultiHeadShape, heads);
      return bytesAt(shape, 2048) - bytesAt(shape, 1024);
    };
    expect(growth(2) / growth(8)).toBe(1 / 4);
  });
});

describe('largestBatch', () => {
  const settings = { weightBytes: 1_000_000, dtype: 'f16', context: 1000 } as const;
  const perSequence = 1000 * 30 * 2 * 8 * 72 * 2;

  it('is exact at the last byte', () => {
    const memoryBytes = settings.weightBytes + 3 * perSequence;
    expect(largestBatch(smolMultiHeadShape, { ...settings, memoryBytes })).toBe(3);
    expect(largestBatch(smolMultiHeadShape, { ...settings, memoryBytes: memoryBytes - 1 })).toBe(2);
  });

  it('is 0 where not even the weights fit', () => {
    expect(largestBatch(smolMultiHeadShape, { ...settings, memoryBytes: 1000 })).toBe(0);
  });
});

describe('withKeyValueHeads', () => {
  it('refuses heads that cannot be shared evenly', () => {
    expect(() => withKeyValueHeads(smolMultiHeadShape, 3)).toThrowError(
      expect.objectContaining({ code: 'invalid-argument' }),
    );
  });
});
