import { createTinyModel } from '@kvlr/testkit';
import { expect, it } from 'vitest';
import { resolveCache } from '../frontier/caches.ts';
import { describeTaskCache, type TaskCache, taskCacheBytes } from './task-cache.ts';

const { shape } = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2 });
const { keySlotWidth, valueSlotWidth } = shape.layers[0]!.cache;
const numbers = shape.numLayers * 2 * (keySlotWidth + valueSlotWidth);

it('counts the bytes of a cache however it was asked for', async () => {
  const sinks = await resolveCache('f16+policy=sinks+keep=25%');
  const bytes = (cache: TaskCache) => taskCacheBytes(shape, cache, 1024);
  expect(bytes({})).toBe(1024 * 4 * numbers);
  expect(bytes({ dtype: 'f16' })).toBe(1024 * 2 * numbers);
  expect(bytes({ window: 60 })).toBe(64 * 4 * numbers);
  expect(bytes({ named: await resolveCache('f16') })).toBe(1024 * 2 * numbers);
  expect(bytes({ named: sinks })).toBeGreaterThanOrEqual(256 * 2 * numbers);
  expect(bytes({ named: sinks })).toBeLessThan(512 * 2 * numbers);
  expect(describeTaskCache({ named: sinks })).toEqual({ name: 'f16+policy=sinks+keep=25%' });
});
