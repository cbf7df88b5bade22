import { cacheBytes, type DecoderShape, decoderTensors, hasBlocks, KvlrError, layerTensors } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend } from '@tensorflow/tfjs-core';
import type { BackendName } from '../backends/select-backend.ts';
import { type CacheSettings, resolveCacheSettings } from '../cache/cache-settings.ts';
import { PREFILL_TOKENS } from '../packed/packed-decoder.ts';
import { packedTensorBytes } from '../packed/packed-weights.ts';

export interface MemoryRequest {
  /** Default 'f32'. */
  weights?: WeightFormat;
  /** Without a capacity or window the cache is counted for the model's last position. */
  cache?: CacheSettings;
}

/** Bytes of device memory that a model will take. */
export interface MemoryEstimate {
  weightBytes: number;
  cacheBytes: number;
  /** The greatest set of intermediate results at once: a part of a prompt in one layer, and the logits. */
  scratchBytes: number;
  totalBytes: number;
}

/** What `loadModel` with `weights` and one cache take on the device, from the shape alone. */
export function estimateMemory(shape: DecoderShape, request: MemoryRequest = {}): MemoryEstimate {
  const { weights = 'f32', cache = {} } = request;
  const { batch, capacity = shape.maxPositionEmbeddings, ...storage } = resolveCacheSettings(cache);
  const tensors = decoderTensors(shape);
  const weightBytes = tensors.reduce((sum, tensor) => sum + packedTensorBytes(tensor, weights), 0);
  const { vocabSize, hiddenSize, feedForward } = shape;
  const widest = Math.max(...shape.layers.map((_, layer) => projectedWidth(shape, layer)));
  const cacheSize = cacheBytes(shape, { ...storage, capacity, batch });
  const rows = PREFILL_TOKENS * batch;
  // Prompts attend to one layer's blocks unpacked.
  const unpacked = hasBlocks(storage.dtype) ? largestCacheBuffer(shape, { dtype: 'f16', capacity, batch }) : 0;
  const scratchBytes =
    4 * rows * (2 * widest + 3 * hiddenSize + feedForward.intermediateSize) + 4 * batch * vocabSize + unpacked;
  return {
    weightBytes,
    cacheBytes: cacheSize,
    scratchBytes,
    totalBytes: weightBytes + cacheSize + scratchBytes,
  };
}

/** Numbers that the q, k and v projections of a layer give for a token. */
function projectedWidth(shape: DecoderShape, layer: number): number {
  const projections = layerTensors(shape, layer).filter(({ role }) => /^(query|key|value)Weight$/.test(role));
  return projections.reduce((width, tensor) => width + tensor.shape[0]!, 0);
}

/** Bytes of the largest buffer among the layers' caches. */
export function largestCacheBuffer(shape: DecoderShape, cache: CacheSettings): number {
  const { batch, pageTokens, capacity = pageTokens, ...storage } = resolveCacheSettings(cache);
  return Math.max(...shape.layers.map((layer) => cacheBytes({ layers: [layer] }, { ...storage, capacity, batch })));
}

/** The heap of tfjs's wasm module grows no further. */
const WASM_HEAP = 2 ** 31;

export interface MemoryLimit extends MemoryRequest {
  /** Bytes that may be taken. Default: 2 GiB on wasm, where the heap ends; elsewhere nothing is known. */
  memoryLimit?: number;
}

/**
 * Refuses a model that will not fit, before anything of it is read. Throws 'memory-exceeded' with what is needed and what is there.
 * On WebGPU a layer's cache must also fit into one binding.
 */
export function requireMemory(shape: DecoderShape, name: BackendName, request: MemoryLimit): MemoryEstimate {
  const estimate = estimateMemory(shape, request);
  const limit = request.memoryLimit ?? (name === 'wasm' ? WASM_HEAP : Number.POSITIVE_INFINITY);
  const { totalBytes, weightBytes, cacheBytes, scratchBytes } = estimate;
  if (totalBytes > limit) {
    const parts = `weights ${megabytes(weightBytes)}, cache ${megabytes(cacheBytes)}, scratch ${megabytes(scratchBytes)}`;
    throw exceeded(`expected at most ${megabytes(limit)}, got a need of ${megabytes(totalBytes)} (${parts}).`, {
      ...estimate,
      limit,
    });
  }
  if (name === 'webgpu') requireBindable(largestCacheBuffer(shape, request.cache ?? {}));
  return estimate;
}

/** Throws 'memory-exceeded' where the device cannot bind a buffer of so many bytes. */
export function requireBindable(bytes: number): void {
  const { maxStorageBufferBindingSize, maxBufferSize } = (backend() as WebGPUBackend).device.limits;
  const limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
  if (bytes <= limit) return;
  throw exceeded(
    `expected at most ${megabytes(limit)} for the cache of one layer, which this device can bind, got ${megabytes(bytes)}.`,
    { bytes, limit },
  );
}

function exceeded(message: string, data: Record<string, unknown>): KvlrError {
  return new KvlrError('memory-exceeded', {
    message,
    hint: 'Take a shorter context (cache capacity or window), a model with fewer KV heads (kvlr compress), or a smaller dtype of cache or weights.',
    data,
  });
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
