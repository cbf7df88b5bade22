import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, type TensorInfo } from '@tensorflow/tfjs-core';
import { bufferOf } from '../webgpu/backend-internals.ts';
import { type HostBackend, hostValues } from './host-heap.ts';

/**
 * Copies numbers into a tensor from its `offset`-th on, on the active backend. On WebGPU the write takes effect before all
 * dispatches that are recorded but not yet submitted: meant for filling weights, not for use between kernels.
 */
export function writeInPlace(tensor: TensorInfo, offset: number, values: Float32Array | Int32Array): void {
  if (getBackend() === 'webgpu') {
    const gpu = backend() as WebGPUBackend;
    gpu.queue.writeBuffer(bufferOf(gpu, tensor), offset * 4, values.buffer, values.byteOffset, values.byteLength);
  } else {
    hostValues(backend() as HostBackend, tensor).set(values, offset);
  }
}
