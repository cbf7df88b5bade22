import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, memory } from '@tensorflow/tfjs-core';

/** Bytes of all tensors on the active backend. */
export function tensorBytes(): number {
  return memory().numBytes;
}

/**
 * Memory that the active backend holds: on WebGPU its buffers, those that it keeps for later included, and `cacheBytes`, since caches
 * have buffers of their own; on wasm the heap, which never shrinks. Undefined on cpu, whose tensors lie in the JavaScript heap.
 */
export function heldBytes(cacheBytes: number): number | undefined {
  switch (getBackend()) {
    case 'webgpu':
      return (backend() as WebGPUBackend).memory().numBytesAllocatedInGPU + cacheBytes;
    case 'wasm':
      return ((backend() as BackendWasm).wasm as unknown as { HEAPU8: Uint8Array }).HEAPU8.byteLength;
    default:
      return undefined;
  }
}
