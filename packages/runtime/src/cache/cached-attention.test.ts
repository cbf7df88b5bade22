import { type CacheDtype, type ModelSource, type PositionShape, stockLayout } from '@kvlr/core';
import { createTinyModel, differenceByRange, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../decoder/load-model.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import { createRebuiltModel } from '../testing/rebuilt-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import type { CacheSettings } from './cache-settings.ts';
import { fusedAttentionFits } from './cached-attention.ts';

const tiny = createTinyModel({ numAttentionHeads: 6, numKeyValueHeads: 2, attentionBias: true });

/** The same model with a window in each layer that hides nothing: its attention runs on stock ops. */
function onStockOps(model: ModelSource): ModelSource {
  const layers = model.shape.layers.map((layer) => ({ ...layer, window: 10_000 }));
  return { ...model, id: `${model.id}-stock`, shape: { ...model.shape, layers } };
}

function withPositions(model: ModelSource, positions: PositionShape): ModelSource {
  const layers = model.shape.layers.map((layer) => ({ ...layer, positions }));
  return { ...model, shape: { ...model.shape, layers } };
}

/** Logits after every stretch of each sequence, which together are longer than a window. */
async function runStretches(source: ModelSource, backend: 'cpu' | 'wasm' | 'webgpu', cacheSettings: CacheSettings) {
  const model = await loadModel(source, { backend, weights: 'f32' });
  const cache = await model.createCache(cacheSettings);
  const texts = Array.from({ length: cacheSettings.batch ?? 1 }, (_, b) => randomTokenIds(40, 50, b));
  const starts = texts.map(() => 0);
  const logits: number[] = [];
  for (const counts of [
    [5, 2],
    [1, 1],
    [9, 3],
    [1, 1],
    [1, 1],
    [12, 14],
    [1, 1],
  ]) {
    const added = texts.map((text, b) => text.subarray(starts[b]!, starts[b]! + counts[b]!));
    logits.push(...(await model.extend(cache, added.length === 1 ? added[0]! : added)));
    added.forEach((ids, b) => {
      starts[b]! += ids.length;
    });
  }
  cache.dispose();
  model.dispose();
  return logits;
}

const caches: [name: string, settings: CacheSettings, tolerance: number][] = [
  ['f32', {}, 1e-5],
  ['two sequences', { batch: 2 }, 1e-5],
  ['a window with sinks', { window: 8, sinks: 2 }, 1e-5],
  ['two sequences in windows without sinks', { batch: 2, window: 10, sinks: 0 }, 1e-5],
  // Codes of numbers that lie on an edge may differ by one.
  ['f16', { dtype: 'f16' }, 1e-3],
  ['int8, two sequences in a window', { dtype: 'int8', batch: 2, window: 8, sinks: 2 }, 1e-2],
];

const backends = (await testedBackends()).filter(({ backend }) => backend !== 'cpu');

describe.each(backends)('attention on stock ops behind a cache on $backend', ({ backend, skip }) => {
  const tested = backend === 'wasm' ? caches : caches.slice(2, 3);

  it.skipIf(skip).each(tested)(
    'gives what the fused kernels give: %s',
    async (_, settings, tolerance) => {
      const stock = onStockOps(tiny);
      expect([fusedAttentionFits(tiny.shape, 0), fusedAttentionFits(stock.shape, 0)]).toEqual([true, false]);
      const received = await runStretches(stock, backend, settings);
      expect(differenceByRange(received, await runStretches(tiny, backend, settings))).toBeLessThan(tolerance);
      // For an emulated GPU on busy processors.
    },
    120_000,
  );
});

describe('attention on stock ops behind a cache', () => {
  it.each(caches)('gives what the fused kernels give for latent keys: %s', async (_, settings, tolerance) => {
    const latent = createLatentModel(2);
    const received = await runStretches(onStockOps(latent), 'wasm', settings);
    expect(differenceByRange(received, await runStretches(latent, 'wasm', settings))).toBeLessThan(tolerance);
  });

  const growing: PositionShape = {
    kind: 'rope',
    rope: { type: 'dynamic', theta: 100, factor: 4, originalMaxPositionEmbeddings: 8 },
    rotaryDim: 4,
    pairs: 'interleaved',
  };
  const sloping: PositionShape = { kind: 'alibi', slopes: [0.5, 0.25, 0.125, 0.7, 0.35, 0.18] };

  it.each([
    // Of more layers, deeper ones keep what the first tokens were when the text was short.
    ['frequencies that change as the text grows', withPositions(createTinyModel({ numLayers: 1 }), growing)],
    ['ALiBi', withPositions(tiny, sloping)],
    ['rebuilt keys', createRebuiltModel(2)],
  ])('gives each sequence of a batch what it gives alone, and that of whole windows: %s', async (_, source) => {
    const model = await loadModel(source, { backend: 'wasm' });
    const cache = await model.createCache({ batch: 2 });
    const texts = [randomTokenIds(20, 50, 1), randomTokenIds(13, 50, 2)];
    await model.extend(cache, [texts[0]!.subarray(0, 17), texts[1]!.subarray(0, 11)]);
    await model.extend(cache, [texts[0]!.subarray(17, 18), texts[1]!.subarray(11, 12)]);
    const together = await model.extend(cache, [texts[0]!.subarray(18), texts[1]!.subarray(12)]);
    for (const [b, text] of texts.entries()) {
      const alone = (await model.logits(text)).slice(-50);
      expect(differenceByRange(together.subarray(50 * b, 50 * (b + 1)), alone)).toBeLessThan(1e-5);
    }
    cache.dispose();
    model.dispose();
  });

  it.each(['f32', 'int4'] as CacheDtype[])('hides what lies outside of a layer’s window: %s', async (dtype) => {
    // One layer: with more of them, tokens reach beyond a window through others.
    const model = createTinyModel({ numLayers: 1, numKeyValueHeads: 2 });
    const [layer] = model.shape.layers;
    const windowed = { ...model, shape: { ...model.shape, layers: [{ ...layer!, window: 5 }] } };
    const loaded = await loadModel(windowed, { backend: 'wasm', weights: 'f32', cache: { dtype } });
    const text = randomTokenIds(20, 50, 3);
    const changed = Int32Array.from(text, (id, place) => (place < 15 ? (id + 1) % 50 : id));
    const [first, second] = [(await loaded.logits(text)).slice(-50), (await loaded.logits(changed)).slice(-50)];
    expect([...second]).toEqual([...first]);
    expect((await loaded.logits(text)).slice(-100, -50)).not.toEqual((await loaded.logits(changed)).slice(-100, -50));
    loaded.dispose();
  });

  it('serves layers of unequal layouts', async () => {
    const layers = tiny.shape.layers.map((layer, index) => ({ ...layer, ...(index === 1 && { window: 6 }) }));
    const mixed = { ...tiny, shape: { ...tiny.shape, layers } };
    expect(mixed.shape.layers.map(({ cache }) => cache)).toEqual(Array(2).fill(stockLayout(2, 8)));
    const model = await loadModel(mixed, { backend: 'wasm' });
    const text = randomTokenIds(20, 50, 3);
    const cache = await model.createCache();
    await model.extend(cache, text.subarray(0, 18));
    await model.extend(cache, text.subarray(18, 19));
    const last = await model.extend(cache, text.subarray(19));
    expect(differenceByRange(last, (await model.logits(text)).slice(-50))).toBeLessThan(1e-5);
    cache.dispose();
    model.dispose();
  });
});
