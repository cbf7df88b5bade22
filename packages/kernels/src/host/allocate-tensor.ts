import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, engine, getBackend, type Tensor } from '@tensorflow/tfjs-core';
import { allocateOnHost, type HostBackend } from './host-heap.ts';

/** A tensor of the active backend whose values are still to be written: no copy of them is made in the JavaScript heap. */
export function allocateTensor(shape: number[], dtype: 'float32' | 'int32'): Tensor {
  if (getBackend() === 'webgpu') {
    const gpu = backend() as WebGPUBackend;
    const info = gpu.makeTensorInfo(shape, dtype);
    gpu.uploadToGPU(info.dataId);
    return engine().makeTensorFromTensorInfo(info);
  }
  return engine().makeTensorFromTensorInfo(allocateOnHost(backend() as HostBackend, shape, dtype));
}
