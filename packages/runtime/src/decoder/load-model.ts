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
import { codedLogits } from '../blocks/coded-windows.ts';
import { StockDecoder, uploadDecoder } from '../blocks/stock-decoder.ts';
import { type CacheSettings, layerFormats, resolveCacheSettings } from '../cache/cache-settings.ts';
import { requireCodedFits } from '../cache/cached-attention.ts';
import { PackedDecoder, warmUp } from '../packed/packed-decoder.ts';
import { loadPacked } from '../packed/packed-file.ts';
import { type PackedWeights, packDecoder, readFromDevice, readFromSource } from '../packed/packed-weights.ts';
import type { DecoderModel } from './decoder-model.ts';
import { LoadedDecoder } from './loaded-decoder.ts';
import { requireMemory } from './memory.ts';

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
export interface LoadProgress {
  completed: number;
  total: number;
  /** 'bytes' while files are fetched, 'layers' while weights are packed, 'pipelines' while the GPU's programs are built. */
  unit: string;
  /** The file or tensor at hand. */
  detail?: string;
}

/**
 * Selects a backend and puts a LLaMA-family decoder on it. Any cache layout of core's `LayerCacheLayout` runs. Throws
 * 'backend-unavailable', 'memory-exceeded', 'unsupported-feature' (a cache dtype that cannot store the layout), 'tensor-missing',
 * 'tensor-shape', 'non-finite', 'invalid-argument', 'device-lost' or 'aborted'; then no device memory is held.
 */
export async function loadModel(source: ModelSource, settings: LoadModelSettings = {}): Promise<DecoderModel> {
  const { weights, cache: cacheSettings = {}, signal, onProgress, memoryLimit } = settings;
  const { dtype, coded, statistics } = resolveCacheSettings(cacheSettings);
  throwIfAborted(signal);
  const backend = await selectBackend(settings);
  const { shape, id } = source;
  requireLayouts(shape);
  layerFormats(shape, dtype, statistics);
  if (coded) requireCodedFits(shape, coded, { backend: backend.backend, batch: cacheSettings.batch, statistics });
  requireMemory(shape, backend.backend, { weights, cache: cacheSettings, memoryLimit });
  const guard = new DeviceGuard(settings.debug ?? false);
  const common = { shape, id, backend, guard, cacheSettings, weightFormat: weights ?? 'f32' };
  const onLoaded = (completed: number, total: number) => onProgress?.({ completed, total, unit: 'layers' });
  const prepare = async (loading: Promise<PackedWeights>): Promise<PackedDecoder> => {
    const fused = new PackedDecoder(shape, await loading, cacheSettings);
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
      packed ? loadPacked(packed, id, request) : packDecoder({ ...request, read: readFromSource(source) });
    const fused = await guard.run(() => prepare(load()));
    return new LoadedDecoder({ ...common, windows: fused, fused: async () => fused, dispose: () => fused.dispose() });
  }
  const stock = new StockDecoder(await guard.run(() => uploadDecoder(source, signal)));
  let fused: PackedDecoder | undefined;
  return new LoadedDecoder({
    ...common,
    windows: stock,
    losses: backend.backend === 'webgpu' ? (tokenIds, targets) => stock.losses(tokenIds, targets) : undefined,
    codedLogits: (tokenIds, reader) => codedLogits(tokenIds, stock.tensors, reader),
    async fused() {
      const read = readFromDevice(stock.tensors);
      fused ??= await prepare(packDecoder({ shape, format: 'f32', read, onLoaded }));
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
    message: `expected ${numLayers} layers, got ${layers.length}.`,
    data: { numLayers, layers: layers.length },
  });
}
