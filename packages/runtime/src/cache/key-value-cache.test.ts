import { type CacheDtype, cacheBytes, type EntryDtype, entryDtypes } from '@kvlr/core';
import { createTinyModel, differenceByRange, randomTokenIds } from '@kvlr/testkit';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend as activeBackend, memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel } from '../decoder/load-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';

const source = createTinyModel({ numKeyValueHeads: 2 });
const ids = Array.from(randomTokenIds(40, 50));
/** Largest difference to the logits with an f32 cache, by their range. */
const tolerances: Record<EntryDtype, number> = { f32: 1e-5, f16: 2e-3, fp8: 0.1, int8: 2e-2, int4: 0.3 };

describe.each(await testedBackends())('a cache on $backend', ({ backend, skip }) => {
  let model: DecoderModel;
  beforeAll(async () => {
    if (!skip) model = await loadModel(source, { backend, weights: 'f32' });
  });
  afterAll(() => model?.dispose());

  it.skipIf(skip)('takes the bytes of the formula, and gives them back', async () => {
    // The buffers of caches are not in tfjs's pool: on WebGPU their own sizes count.
    const allocated = () => (backend === 'webgpu' ? 0 : memory().numBytes);
    for (const dtype of entryDtypes) {
      const before = allocated();
      const tensors = memory().numTensors;
      const cache = await model.createCache({ dtype, capacity: 10, batch: 3 });
      expect(cache.byteLength).toBe(cacheBytes(source.shape, { dtype, capacity: 10, batch: 3 }));
      const sizes = source.shape.layers.map((_, layer) => {
        const words = cache.wordsOf(layer);
        if (backend !== 'webgpu') return 4 * words.size;
        const gpu = activeBackend() as WebGPUBackend;
        return (gpu.tensorMap.get(words.dataId).resource as GPUBuffer).size;
      });
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(cache.byteLength);
      if (backend !== 'webgpu') expect(allocated() - before).toBe(cache.byteLength);
      cache.dispose();
      expect([allocated(), memory().numTensors]).toEqual([before, tensors]);
    }
  });

  it.skipIf(skip)('serves sequences of different lengths side by side', async () => {
    const texts = [ids.slice(0, 9), ids.slice(5, 6), ids.slice(3, 15)];
    const cache = await model.createCache({ batch: 3, pageTokens: 5 });
    const together = await model.extend(cache, texts);
    const next = await model.extend(cache, [[1], [2], [3]]);
    expect(cache.lengths).toEqual([10, 2, 13]);
    expect(cache.capacity).toBe(15);
    for (const [sequence, text] of texts.entries()) {
      const alone = await model.createCache(20);
      const row = (logits: Float32Array) => logits.subarray(sequence * 50, (sequence + 1) * 50);
      expect(differenceByRange(row(together), await model.extend(alone, text))).toBeLessThan(1e-5);
      expect(differenceByRange(row(next), await model.extend(alone, [sequence + 1]))).toBeLessThan(1e-5);
      alone.dispose();
    }
    cache.dispose();
  });

  it.skipIf(skip).each(backend === 'webgpu' ? (['int8'] as const) : entryDtypes)(
    'in %s is cut, forked, grown, saved and loaded without a change to what follows',
    async (dtype) => {
      const held = memory().numTensors;
      const reference = await model.createCache(40);
      await model.extend(reference, ids.slice(0, 12));
      const expected = await model.extend(reference, [7]);
      const cache = await model.createCache({ dtype, pageTokens: 8 });
      await model.extend(cache, ids.slice(0, 12));
      const first = await model.extend(cache, [7]);
      expect(differenceByRange(first, expected)).toBeLessThan(tolerances[dtype]);
      await model.extend(cache, ids.slice(20, 30));
      cache.truncate(12);
      expect(cache.tokenIds).toEqual([ids.slice(0, 12)]);
      expect([...(await model.extend(cache, [7]))]).toEqual([...first]);
      cache.truncate(12);
      const copy = cache.fork();
      await model.extend(cache, [9]);
      const bytes = await model.saveCache(copy);
      expect(bytes.length - copy.usedBytes).toBeLessThan(600);
      const loaded = await model.loadCache(bytes);
      expect(loaded.dtype).toBe(dtype);
      for (const again of [copy, loaded]) expect([...(await model.extend(again, [7]))]).toEqual([...first]);
      for (const each of [reference, cache, copy, loaded]) each.dispose();
      expect(memory().numTensors).toBe(held);
    },
  );
});

describe('a cache', () => {
  const load = () => loadModel(source, { backend: 'wasm', weights: 'f32' });

  it('keeps a prompt for the next text: only what is new is run', async () => {
    const model = await load();
    const collect = async (prompt: number[], cache?: Awaited<ReturnType<typeof model.createCache>>) => {
      const tokens: number[] = [];
      for await (const { tokenId } of model.generate(prompt, { maxNewTokens: 6, cache })) tokens.push(tokenId);
      return tokens;
    };
    const cache = await model.createCache();
    const first = await collect(ids.slice(0, 12), cache);
    expect(first).toEqual(await collect(ids.slice(0, 12)));
    expect(cache.tokenIds[0]).toEqual([...ids.slice(0, 12), ...first.slice(0, -1)]);
    const question = [...ids.slice(0, 12), ...first, 5, 6];
    expect(await collect(question, cache)).toEqual(await collect(question));
    const other = [...ids.slice(0, 8), 3, 3];
    expect(await collect(other, cache)).toEqual(await collect(other));
    expect(cache.tokenIds[0]!.slice(0, 10)).toEqual(other);
    cache.dispose();
    model.dispose();
  });

  it('with a window generates beyond the last position of the model in bounded memory', async () => {
    const model = await loadModel(source, { backend: 'wasm', weights: 'f32', cache: { window: 16, sinks: 2 } });
    const sizes = new Set<number>();
    let count = 0;
    for await (const { cacheBytes: size, index } of model.generate(ids, { maxNewTokens: 200 })) {
      sizes.add(size);
      count = index + 1;
    }
    expect(count).toBe(200);
    expect([...sizes]).toEqual([cacheBytes(source.shape, { dtype: 'f32', capacity: 18 })]);
    model.dispose();
  });

  it('refuses the cache of another model, half a cache, and other bytes', async () => {
    const model = await load();
    const cache = await model.createCache(8);
    await model.extend(cache, [1, 2, 3]);
    const bytes = await model.saveCache(cache);
    const other = await loadModel(createTinyModel({ seed: 2, numKeyValueHeads: 2 }), {
      backend: 'wasm',
      weights: 'f32',
    });
    const held = memory().numTensors;
    await expect(other.loadCache(bytes)).rejects.toMatchObject({ code: 'cache-mismatch' });
    await expect(model.loadCache(bytes.subarray(0, bytes.length - 8))).rejects.toMatchObject({
      code: 'file-truncated',
    });
    for (const wrong of [new Uint8Array(3), bytes.slice(1), bytes.slice(0, 20)]) {
      await expect(model.loadCache(wrong)).rejects.toMatchObject({ code: 'file-malformed' });
    }
    expect(memory().numTensors).toBe(held);
    cache.dispose();
    other.dispose();
    model.dispose();
  });

  it.each([
    [{ dtype: 'f64' as CacheDtype }, /dtype: expected one of f32, f16/],
    [{ capacity: 0 }, /capacity/],
    [{ batch: 1.5 }, /batch/],
    [{ window: 4, capacity: 9 }, /window or a capacity/],
  ])('refuses %o', async (settings, message) => {
    const model = await load();
    await expect(model.createCache(settings)).rejects.toThrow(message);
    model.dispose();
  });

  it('refuses to cut a window that has moved', async () => {
    const model = await load();
    const cache = await model.createCache({ window: 4, sinks: 1 });
    await model.extend(cache, ids.slice(0, 9));
    expect(() => cache.truncate(6)).toThrow(/once a window has moved/);
    cache.truncate(0);
    expect(cache.length).toBe(0);
    cache.dispose();
    model.dispose();
  });
});
