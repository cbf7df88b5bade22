import { cacheSize } from '@kvlr/core';
import { createTinyModel } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { cacheBytesByContext } from './cache-bytes-by-context.ts';

it('is 2 x layers x KV heads x headDim x bytes x tokens for grouped-query attention', () => {
  const { shape } = createTinyModel({ numLayers: 3, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 8 });
  expect(cacheBytesByContext(cacheSize(shape, 2), [1, 4096])).toEqual([
    { context: 1, bytes: 2 * 3 * 2 * 8 * 2 },
    { context: 4096, bytes: 2 * 3 * 2 * 8 * 2 * 4096 },
  ]);
});
