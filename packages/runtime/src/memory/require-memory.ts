import { type DecoderShape, KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend } from '@tensorflow/tfjs-core';
import type { BackendName } from '../backends/backend-choice.ts';
import { estimateMemory, largestCacheBuffer, type MemoryEstimate, type MemoryRequest } from './estimate-memory.ts';

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
    throw exceeded(
      `loadModel: expected at most ${megabytes(limit)}, got a need of ${megabytes(totalBytes)} (${parts}).`,
      { ...estimate, limit },
    );
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
    `KeyValueCache: expected at most ${megabytes(limit)} for the cache of one layer, which this device can bind, got ${megabytes(bytes)}.`,
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
