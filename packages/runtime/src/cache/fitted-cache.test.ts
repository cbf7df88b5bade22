import { builtInCodecs, windowReader } from '@kvlr/cache';
import {
  type AdaptedDtype,
  cacheBytes,
  codedCacheBytes,
  createNormalRandom,
  type DecoderShape,
  type SideStatistics,
  slotsOfSide,
} from '@kvlr/core';
import { createTinyModel, differenceByRange, expectKvlrError } from '@kvlr/testkit';
import { memory } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import { loadModel } from '../decoder/load-model.ts';
import { createLatentModel } from '../testing/latent-model.ts';
import { testedBackends } from '../testing/tested-backends.ts';
import type { CacheStatistics } from './cache-settings.ts';
import type { KeyValueCache } from './key-value-cache.ts';

// Of one layer, so that a query depends on nothing but the cache that it reads.
const source = createTinyModel({ numLayers: 1, numAttentionHeads: 4, numKeyValueHeads: 2, headDim: 16 });
const ids = Array.from({ length: 107 }, (_, i) => (7 * i + 3) % source.shape.vocabSize);

/** Drawn covariances: what they are does not matter to whether kernels and codec agree. */
function drawnStatistics({ layers }: DecoderShape): CacheStatistics {
  const normal = createNormalRandom(5);
  return layers.map(({ cache }) => {
    const drawn = (side: 'keys' | 'values'): SideStatistics => {
      const { slots, width } = slotsOfSide(cache, side);
      const squares = (least: number, scale: number) => {
        const result = new Float64Array(slots * width * width);
        for (let slot = 0; slot < slots; slot++) {
          const factor = Float64Array.from({ length: width * width }, () => scale * normal());
          for (let i = 0; i < width; i++) {
            for (let j = 0; j < width; j++) {
              let sum = i === j ? least : 0;
              for (let k = 0; k < width; k++) sum += factor[i * width + k]! * factor[j * width + k]!;
              result[(slot * width + i) * width + j] = sum / width;
            }
          }
        }
        return result;
      };
      const mean = Float64Array.from({ length: slots * width }, () => 0.1 * normal());
      return { mean, covariance: squares(0.5, 1), errorWeight: squares(0.1, 2) };
    };
    return { keys: drawn('keys'), values: drawn('values') };
  });
}

const statistics = drawnStatistics(source.shape);
const exact = { exactWindow: 9, exactFirst: 3 };

async function extendBy(model: DecoderModel, cache: KeyValueCache, counts: readonly number[]): Promise<Float32Array> {
  let logits: Float32Array = new Float32Array();
  for (const count of counts) logits = await model.extend(cache, ids.slice(cache.length, cache.length + count));
  return logits;
}

describe.each(await testedBackends())('a fitted cache on $backend', ({ backend, skip }) => {
  it.skipIf(skip).each(['klt-4', 'klt-2', 'klt-1.5'] as const)(
    'in %s reads what windows read through the codec, and takes its bytes',
    async (dtype) => {
      const model = await loadModel(source, { backend, cache: { dtype, statistics, ...exact } });
      // The weights of generation are packed at the first step.
      const first = await model.createCache();
      await model.extend(first, [1]);
      first.dispose();
      const held = memory().numTensors;
      const cache = await model.createCache();
      const received = await extendBy(model, cache, [60, 1, 1, 40, 1, 1, 1, 1, 1]);
      const coded = { codec: builtInCodecs[dtype], window: 9, first: 3 };
      const reader = windowReader({ shape: source.shape, cache: coded, statistics });
      const expected = await model.readThrough(reader).logits(Int32Array.from(ids));
      // Tokens behind the codes are halves here, and numbers as they are in windows.
      expect(differenceByRange(received, expected.slice(-source.shape.vocabSize))).toBeLessThan(5e-3);
      expect(cache.usedBytes).toBe(codedCacheBytes(source.shape, coded, ids.length));
      expect(cache.bytesOfLength(ids.length)).toBe(cache.usedBytes);
      const { capacity } = cache;
      expect(cache.byteLength).toBe(cacheBytes(source.shape, { dtype, ...exact, capacity }));
      const copy = cache.fork();
      expect(differenceByRange(await model.extend(copy, [5]), await model.extend(cache, [5]))).toBeLessThan(1e-6);
      cache.dispose();
      copy.dispose();
      expect(memory().numTensors).toBe(held);
      model.dispose();
    },
    120_000,
  );
});

describe('a fitted cache', () => {
  const loadWith = (cache: { dtype: AdaptedDtype; statistics?: CacheStatistics }, model = source) =>
    loadModel(model, { backend: 'wasm', cache });

  it('asks for statistics of every layer', async () => {
    await expectKvlrError(() => loadWith({ dtype: 'klt-2' }), 'invalid-argument', 'statistics of the model for klt-2');
    const none = () => loadWith({ dtype: 'klt-2', statistics: [] });
    await expectKvlrError(none, 'invalid-argument', 'expected statistics of 1 layers, got those of 0');
  });

  it('is refused by name where keys are latent', async () => {
    const latent = createLatentModel(2);
    const load = () => loadWith({ dtype: 'klt-2', statistics: drawnStatistics(latent.shape) }, latent);
    await expectKvlrError(load, 'unsupported-feature', /for klt-2, got latent keys/);
  });

  it('is not saved', async () => {
    const model = await loadWith({ dtype: 'klt-3', statistics });
    const cache = await model.createCache();
    await expectKvlrError(() => model.saveCache(cache), 'unsupported-feature', 'got one of klt-3');
    cache.dispose();
    model.dispose();
  });

  it('runs windows as they would be generated', async () => {
    const model = await loadModel(source, { backend: 'wasm', weights: 'f32', cache: { dtype: 'klt-2', statistics } });
    const cache = await model.createCache();
    const last = await extendBy(model, cache, Array(107).fill(1));
    const windows = await model.logits(Int32Array.from(ids));
    expect(differenceByRange(windows.slice(-source.shape.vocabSize), last)).toBeLessThan(1e-3);
    cache.dispose();
    model.dispose();
  });
});
