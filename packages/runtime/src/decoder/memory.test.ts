import { cacheBytes } from '@kvlr/core';
import { createTinyModel } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from '../backends/select-backend.ts';
import { loadModel } from '../decoder/load-model.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import { estimateMemory } from './memory.ts';

const source = createTinyModel({ numKeyValueHeads: 2, attentionBias: true, mlpBias: true });

beforeAll(async () => {
  await selectBackend({ backend: 'wasm' });
});

describe('the estimate', () => {
  it.each([
    ['stock', source],
    ['latent', createLatentModel(2)],
  ])('counts the weights of %s keys that a load takes, but for the rotation table', async (_, model) => {
    for (const weights of ['f32', 'f16', 'int8', 'int4'] as const) {
      const before = memory().numBytes;
      const loaded = await loadModel(model, { backend: 'wasm', weights });
      const rotation = 4 * 8 * (256 + 4096);
      expect(memory().numBytes - before - rotation).toBe(estimateMemory(model.shape, { weights }).weightBytes);
      loaded.dispose();
    }
  });

  it('counts the cache by the formula', () => {
    const cache = { dtype: 'int8', capacity: 64, batch: 3 } as const;
    expect(estimateMemory(source.shape, { cache }).cacheBytes).toBe(cacheBytes(source.shape, cache));
    const endless = estimateMemory(source.shape);
    expect(endless.cacheBytes).toBe(cacheBytes(source.shape, { dtype: 'f32', capacity: 128 }));
    expect(endless.totalBytes).toBe(endless.weightBytes + endless.cacheBytes + endless.scratchBytes);
  });

  it('refuses what does not fit, with what is needed and three hints, before anything is read', async () => {
    const { totalBytes } = estimateMemory(source.shape, { weights: 'f32' });
    const reading = new Proxy(source.tensors, {
      get() {
        throw new Error('read');
      },
    });
    const load = (memoryLimit: number) =>
      loadModel({ ...source, tensors: reading }, { backend: 'wasm', weights: 'f32', memoryLimit });
    const refusal = await load(totalBytes - 1).catch((error) => error);
    expect(refusal).toMatchObject({ code: 'memory-exceeded', data: { totalBytes, limit: totalBytes - 1 } });
    expect(refusal.hint).toMatch(/shorter context.*fewer KV heads.*smaller dtype/);
    await expect(load(totalBytes)).rejects.toThrow('read');
  });
});
