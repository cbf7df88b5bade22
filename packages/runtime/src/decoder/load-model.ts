import { type ModelSource, type RunControl, throwIfAborted } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { type BackendRequest, selectBackend } from '../backends/select-backend.ts';
import { type CacheSettings, resolveCacheSettings } from '../cache/cache-settings.ts';
import { FusedDecoder } from '../fused/fused-decoder.ts';
import { loadFusedWeights } from '../fused/load-fused-weights.ts';
import { readFromDevice, readFromSource } from '../fused/weight-reader.ts';
import type { DecoderModel } from './decoder-model.ts';
import { uploadDecoder } from './decoder-tensors.ts';
import { LoadedDecoder } from './loaded-decoder.ts';
import { StockDecoder } from './stock-decoder.ts';

export interface LoadModelSettings extends BackendRequest, RunControl {
  /**
   * How the weights are packed on the device; then everything runs on the fused kernels, and the weights are there once. Default:
   * none. Windows (`logits`, `forEachLayer`) then run on differentiable float32 ops, which is what evaluation and calibration
   * want, and the first call of `generate` or `extend` packs a second copy of the weights in f32.
   */
  weights?: WeightFormat;
  /** Settings of the caches that `createCache` and `generate` make. */
  cache?: CacheSettings;
}

/**
 * Selects a backend and puts a LLaMA-family decoder on it. Any cache layout of core's `LayerCacheLayout` runs. Throws
 * 'backend-unavailable', 'tensor-missing', 'tensor-shape', 'non-finite', 'invalid-argument' or 'aborted'; then no device memory
 * is held.
 */
export async function loadModel(source: ModelSource, settings: LoadModelSettings = {}): Promise<DecoderModel> {
  const { weights, cache: cacheSettings = {}, signal } = settings;
  resolveCacheSettings(cacheSettings);
  throwIfAborted(signal);
  const backend = await selectBackend(settings);
  const { shape, id } = source;
  const common = { shape, id, backend, cacheSettings, weightFormat: weights ?? 'f32' };
  if (weights !== undefined) {
    const loaded = await loadFusedWeights({ shape, format: weights, read: readFromSource(source), signal });
    const fused = new FusedDecoder(shape, loaded);
    return new LoadedDecoder({ ...common, windows: fused, fused: async () => fused, dispose: () => fused.dispose() });
  }
  const stock = new StockDecoder(shape, await uploadDecoder(source, signal));
  let fused: FusedDecoder | undefined;
  return new LoadedDecoder({
    ...common,
    windows: stock,
    fused: async () => {
      const read = readFromDevice(shape, stock.tensors);
      fused ??= new FusedDecoder(shape, await loadFusedWeights({ shape, format: 'f32', read }));
      return fused;
    },
    dispose() {
      stock.dispose();
      fused?.dispose();
    },
  });
}
