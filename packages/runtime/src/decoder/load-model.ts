import {
  type DecoderShape,
  KvlrError,
  type ModelSource,
  type RunControl,
  type TensorSource,
  throwIfAborted,
} from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { DeviceGuard } from '../backends/device-guard.ts';
import { type BackendRequest, selectBackend } from '../backends/select-backend.ts';
import { type CacheSettings, resolveCacheSettings } from '../cache/cache-settings.ts';
import { FusedDecoder } from '../fused/fused-decoder.ts';
import type { FusedWeights } from '../fused/fused-weights.ts';
import { loadFusedWeights } from '../fused/load-fused-weights.ts';
import { loadPacked } from '../fused/load-packed.ts';
import { warmUp } from '../fused/warm-up.ts';
import { readFromDevice, readFromSource } from '../fused/weight-reader.ts';
import { requireMemory } from '../memory/require-memory.ts';
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
  /**
   * Settings of the caches that `createCache` and `generate` make. With `weights`, windows are run behind such a cache too: the
   * perplexity of `cache: { dtype: 'int8' }` is that of generating with it.
   */
  cache?: CacheSettings;
  /** Weights that `savePacked` of the same model wrote in the same format: nothing is read from the source or packed again. */
  packed?: TensorSource;
  /** Bytes that weights, one cache and scratch may take: beyond, nothing is loaded. Default: 2 GiB on wasm, else no limit. */
  memoryLimit?: number;
  /** Builds all GPU pipelines before the model is handed out, so that the first text does not wait for them. Default false. */
  warmUp?: boolean;
  /** Checks WebGPU calls for validation errors, which show nowhere by themselves. Slower. Default false. */
  debug?: boolean;
  onProgress?: (progress: LoadProgress) => void;
}

/** How far a step of loading has come. */
interface LoadProgress {
  completed: number;
  total: number;
  /** 'layers' while weights are packed, 'pipelines' while the GPU's programs are built. */
  unit: string;
  detail?: string;
}

/**
 * Selects a backend and puts a LLaMA-family decoder on it. Any cache layout of core's `LayerCacheLayout` runs. Throws
 * 'backend-unavailable', 'memory-exceeded', 'tensor-missing', 'tensor-shape', 'non-finite', 'invalid-argument', 'device-lost' or
 * 'aborted'; then no device memory is held.
 */
export async function loadModel(source: ModelSource, settings: LoadModelSettings = {}): Promise<DecoderModel> {
  const { weights, cache: cacheSettings = {}, signal, onProgress, memoryLimit } = settings;
  resolveCacheSettings(cacheSettings);
  throwIfAborted(signal);
  const backend = await selectBackend(settings);
  const { shape, id } = source;
  requireLayouts(shape);
  requireMemory(shape, backend.backend, { weights, cache: cacheSettings, memoryLimit });
  const guard = new DeviceGuard(settings.debug ?? false);
  const common = { shape, id, backend, guard, cacheSettings, weightFormat: weights ?? 'f32' };
  const onLoaded = (completed: number, total: number) => onProgress?.({ completed, total, unit: 'layers' });
  const prepare = async (loading: Promise<FusedWeights>): Promise<FusedDecoder> => {
    const fused = new FusedDecoder(shape, await loading, cacheSettings.dtype);
    if (!settings.warmUp) return fused;
    try {
      await warmUp(shape, fused, cacheSettings, (completed, total) =>
        onProgress?.({ completed, total, unit: 'pipelines' }),
      );
      return fused;
    } catch (error) {
      fused.dispose();
      throw error;
    }
  };
  if (weights !== undefined) {
    const { packed } = settings;
    const request = { shape, format: weights, signal, onLoaded };
    const load = () =>
      packed ? loadPacked(packed, id, request) : loadFusedWeights({ ...request, read: readFromSource(source) });
    const fused = await guard.run('loadModel', () => prepare(load()));
    return new LoadedDecoder({ ...common, windows: fused, fused: async () => fused, dispose: () => fused.dispose() });
  }
  const stock = new StockDecoder(shape, await guard.run('loadModel', () => uploadDecoder(source, signal)));
  let fused: FusedDecoder | undefined;
  return new LoadedDecoder({
    ...common,
    windows: stock,
    async fused() {
      const read = readFromDevice(shape, stock.tensors);
      fused ??= await prepare(loadFusedWeights({ shape, format: 'f32', read, onLoaded }));
      return fused;
    },
    dispose() {
      stock.dispose();
      fused?.dispose();
    },
  });
}

function requireLayouts({ numLayers, layers }: DecoderShape): void {
  if (layers.length === numLayers) return;
  throw new KvlrError('invalid-argument', {
    message: `loadModel: expected ${numLayers} cache layouts, got ${layers.length}.`,
    data: { numLayers, layouts: layers.length },
  });
}
