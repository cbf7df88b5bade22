import { type ChannelDtype, cacheBytes, fullBlocks, stockLayout } from '@kvlr/core';
import { createTinyModel, differenceByRange, expectKvlrError, randomTokenIds } from '@kvlr/testkit';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend as activeBackend, memory } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel } from '../decoder/load-model.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import type { KeyValueCache } from './key-value-cache.ts';

const tiny = createTinyModel({ numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 8 });
const source = { ...tiny, shape: { ...tiny.shape, maxPositionEmbeddings: 512 } };
const ids = Array.from(randomTokenIds(200, 50));
const settings = { dtype: 'channel-4', exactWindow: 10, exactFirst: 3 } as const;
/** Largest difference to the logits with an f32 cache, by their range. */
const tolerances: Record<ChannelDtype, number> = { 'channel-4': 0.1, 'channel-3': 0.2, 'channel-2': 0.5 };

async function extendBy(model: DecoderModel, cache: KeyValueCache, counts: readonly number[]): Promise<Float32Array> {
  let logits: Float32Array = new Float32Array();
  for (const count of counts) logits = await model.extend(cache, ids.slice(cache.length, cache.length + count));
  return logits;
}

describe.each(await testedBackends())('a cache of blocks on $backend', ({ backend, skip }) => {
  let model: DecoderModel;
  beforeAll(async () => {
    if (!skip) model = await loadModel(source, { backend, weights: 'f32', debug: true });
  });
  afterAll(() => model?.dispose());
  const wordsOf = async (cache: KeyValueCache) => {
    const parts = source.shape.layers.flatMap((_, layer) => cache.partsOf(layer));
    const all: number[][] = [];
    for (const { words, counts } of parts) {
      const [, places, width] = words.shape;
      const values = await words.data();
      counts.forEach((count, b) => {
        all.push(Array.from(values.slice(b * places * width, (b * places + count) * width)));
      });
    }
    return all;
  };

  it.skipIf(skip)('takes the bytes of the formula, exact tokens included', async () => {
    const cache = await model.createCache({ ...settings, capacity: 120, batch: 2 });
    const bytesOfBuffers = source.shape.layers
      .flatMap((_, layer) => cache.partsOf(layer))
      .map(({ words }) => {
        if (backend !== 'webgpu') return 4 * words.size;
        const gpu = activeBackend() as WebGPUBackend;
        return (gpu.tensorMap.get(words.dataId).resource as GPUBuffer).size;
      });
    // Three blocks, and 3 + 10 + 32 tokens of two slots with a key and a value of 8 halves.
    const block = 2 * (8 * 5 + 16 + 8 * 4);
    const bytes = 2 * source.shape.numLayers * 4 * (3 * block + 45 * 16);
    expect(bytesOfBuffers.reduce((sum, size) => sum + size, 0)).toBe(bytes);
    expect([cache.byteLength, cacheBytes(source.shape, { ...settings, capacity: 120, batch: 2 })]).toEqual([
      bytes,
      bytes,
    ]);
    cache.dispose();
  });

  it.skipIf(skip)('holds the same whether tokens come one by one, in stretches or at once', async () => {
    const stretches = [Array(90).fill(1), [7, 1, 1, 40, 1, 39, 1], [90]];
    const held: { numbers: number[][]; logits: Float32Array }[] = [];
    for (const counts of backend === 'webgpu' ? stretches.slice(1) : stretches) {
      const cache = await model.createCache({ ...settings, pageTokens: 16 });
      const logits = await extendBy(model, cache, counts);
      expect(cache.packedBlocks).toEqual([fullBlocks(settings, 90)]);
      held.push({ numbers: await wordsOf(cache), logits });
      const bytes = cache.usedBytes;
      expect(bytes).toBe(cache.bytesOfLength(90));
      cache.dispose();
    }
    // Hidden states behind packed tokens differ a little, and so do the keys and values of deeper layers.
    for (const { numbers, logits } of held.slice(1)) {
      expect(numbers[1]).toEqual(held[0]!.numbers[1]);
      expect(differenceByRange(logits, held[0]!.logits)).toBeLessThan(0.1);
    }
  });

  it.skipIf(skip)('gives each sequence of a batch what it gives alone', async () => {
    const texts = [ids.slice(0, 80), ids.slice(20, 23), ids.slice(5, 52)];
    const cache = await model.createCache({ ...settings, batch: 3, pageTokens: 20 });
    await model.extend(cache, texts);
    const next = await model.extend(cache, [[1], [2], [3]]);
    for (const [b, text] of texts.entries()) {
      const alone = await model.createCache({ ...settings });
      await model.extend(alone, text);
      const expected = await model.extend(alone, [b + 1]);
      expect(differenceByRange(next.subarray(50 * b, 50 * (b + 1)), expected)).toBeLessThan(1e-4);
      alone.dispose();
    }
    cache.dispose();
  });

  it.skipIf(skip)('is cut, forked, saved and loaded without a change to what follows', async () => {
    const held = memory().numTensors;
    const cache = await model.createCache({ ...settings, pageTokens: 50 });
    await extendBy(model, cache, [101]);
    expect(cache.packedBlocks).toEqual([2]);
    const first = await model.extend(cache, [7]);
    await model.extend(cache, ids.slice(0, 5));
    expect([cache.canTruncate(66), cache.canTruncate(67), cache.canTruncate(101)]).toEqual([false, true, true]);
    expect(() => cache.truncate(66)).toThrow(/within packed blocks/);
    cache.truncate(101);
    expect([...(await model.extend(cache, [7]))]).toEqual([...first]);
    cache.truncate(101);
    const copy = cache.fork();
    await extendBy(model, cache, [40]);
    const bytes = await model.saveCache(copy);
    expect(bytes.length - copy.usedBytes).toBeLessThan(800);
    const loaded = await model.loadCache(bytes);
    for (const again of [copy, loaded]) {
      expect(again.packedBlocks).toEqual([2]);
      expect([...(await model.extend(again, [7]))]).toEqual([...first]);
    }
    // Cut below what its length alone says.
    cache.truncate(133);
    const cut = await model.loadCache(await model.saveCache(cache));
    expect([cut.length, cut.packedBlocks]).toEqual([133, [4]]);
    expect([...(await model.extend(cut, [9]))]).toEqual([...(await model.extend(cache, [9]))]);
    for (const each of [cache, copy, loaded, cut]) each.dispose();
    expect(memory().numTensors).toBe(held);
  });

  it.skipIf(skip)('generates on', async () => {
    const cache = await model.createCache({ dtype: 'channel-4' });
    const tokens: number[] = [];
    for await (const { tokenId, cacheBytes: bytes, cachedTokens } of model.generate(ids.slice(0, 60), {
      maxNewTokens: 12,
      cache,
    })) {
      tokens.push(tokenId);
      expect(bytes).toBe(cache.bytesOfLength(cachedTokens));
    }
    expect(tokens.length).toBe(12);
    cache.dispose();
  });
});

describe('a cache of blocks', () => {
  it.each(Object.entries(tolerances))('in %s comes near exact logits in whole windows', async (dtype, tolerance) => {
    const text = Int32Array.from(ids.slice(0, 100));
    const logitsWith = async (cache: object) => {
      const model = await loadModel(source, { backend: 'wasm', weights: 'f32', cache });
      const logits = await model.logits(text);
      model.dispose();
      return logits;
    };
    const exact = await logitsWith({});
    const coded = await logitsWith({ dtype });
    const difference = differenceByRange(coded, exact);
    expect(difference).toBeLessThan(tolerance);
    expect(difference).toBeGreaterThan(0);
    // What comes before the first block is full are halves.
    expect(differenceByRange(coded.subarray(0, 32 * 50), exact.subarray(0, 32 * 50))).toBeLessThan(1e-3);
    const all = await logitsWith({ dtype, exactWindow: 100 });
    expect(differenceByRange(all, exact)).toBeLessThan(1e-3);
  });

  it('gives what the fused kernels give where attention runs on stock ops', async () => {
    const layers = source.shape.layers.map((layer) => ({ ...layer, window: 10_000 }));
    const stock = { ...source, id: `${source.id}-stock`, shape: { ...source.shape, layers } };
    const logitsOf = async (model: DecoderModel) => {
      const cache = await model.createCache({ ...settings, batch: 2 });
      const logits = [];
      for (const counts of [
        [50, 30],
        [1, 1],
        [9, 40],
        [1, 1],
      ] as const) {
        const added = counts.map((count, b) => ids.slice(cache.lengths[b]!, cache.lengths[b]! + count));
        logits.push(...(await model.extend(cache, added)));
      }
      cache.dispose();
      return logits;
    };
    const [fused, plain] = [await loadModel(source, { backend: 'wasm' }), await loadModel(stock, { backend: 'wasm' })];
    // Keys that were never rotated and keys that were rotated back differ by roundings to halves, and at edges by a code.
    expect(differenceByRange(await logitsOf(plain), await logitsOf(fused))).toBeLessThan(0.02);
    fused.dispose();
    plain.dispose();
  });

  it('is refused by name where keys are latent, before anything is loaded', async () => {
    const load = () => loadModel(createLatentModel(2), { backend: 'wasm', cache: { dtype: 'channel-3' } });
    await expectKvlrError(load, 'unsupported-feature', /channel-3 stores before RoPE, got latent keys/);
  });

  it.each([
    [{ dtype: 'channel-4', window: 20 }, /no window with channel-4/],
    [{ dtype: 'int4', exactWindow: 3 }, /exact tokens with a dtype of blocks alone/],
    [{ dtype: 'channel-2', exactFirst: -1 }, /exactFirst: expected a whole number/],
  ] as const)('refuses %o', async (given, message) => {
    const model = await loadModel(source, { backend: 'wasm' });
    await expect(model.createCache(given)).rejects.toThrow(message);
    model.dispose();
  });

  it('counts two bits as few bytes', () => {
    const shape = { layers: [{ cache: stockLayout(8, 64) }] };
    const bytes = (dtype: ChannelDtype) => cacheBytes(shape, { dtype, capacity: 3200 });
    const halves = 3200 * 2 * 8 * 64 * 2;
    // Codes, half a bit for the scales of keys, and an eighth of a bit for the gains of values.
    const tail = 32 * 2 * 8 * 64 * 2;
    expect((bytes('channel-2') - tail) / halves).toBeCloseTo((2 + 0.5 + 8 / 64) / 16, 6);
  });
});
