import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, type Tensor3D, tensor, zeros } from '@tensorflow/tfjs-core';

/** One layer's words, int32 [batch, capacity, entryWords], zeros at first, with what frees them. */
export interface CacheTensor {
  readonly words: Tensor3D;
  dispose(): void;
}

/**
 * Allocates the words of a cache. On WebGPU the buffer is the cache's own: tfjs keeps every buffer that it has made for later
 * tensors of the same size, so that a cache that grows would leave all its former sizes behind.
 */
export function allocateCacheTensor(batch: number, capacity: number, entryWords: number): CacheTensor {
  const shape: [number, number, number] = [batch, capacity, entryWords];
  if (getBackend() !== 'webgpu') {
    const words = zeros(shape, 'int32') as Tensor3D;
    return { words, dispose: () => words.dispose() };
  }
  const gpu = backend() as WebGPUBackend;
  const buffer = gpu.device.createBuffer({
    label: 'kvlr cache',
    size: 4 * batch * capacity * entryWords,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  const words = tensor({ buffer, zeroCopy: true }, shape, 'int32') as Tensor3D;
  return {
    words,
    dispose() {
      words.dispose();
      // Recorded dispatches may still read it.
      gpu.ensureCommandEncoderReady();
      gpu.endComputePassEncoder();
      gpu.submitQueue();
      buffer.destroy();
    },
  };
}
