import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';

/**
 * The private fields of tfjs-backend-webgpu 4.22.0 on which `runProgram` rests (backend_webgpu.js, recordAndSubmit): its
 * command encoder, what waits for the submission of that encoder, and the pool of uniform buffers.
 */
interface BackendInternals {
  commandEncoder: GPUCommandEncoder;
  computePassEncoder: GPUComputePassEncoder | null;
  commandQueueOwnedIds: WeakSet<object>;
  dispatchCountInPass: number;
  uniformPendingDisposal: GPUBuffer[];
  activeTimers: unknown[] | null;
}

export function internalsOf(gpu: WebGPUBackend): BackendInternals {
  return gpu as unknown as BackendInternals;
}

/** The buffer that holds a tensor on the device, uploaded first where the values still lie in JavaScript. */
export function bufferOf(gpu: WebGPUBackend, tensor: TensorInfo): GPUBuffer {
  gpu.uploadToGPU(tensor.dataId);
  return gpu.tensorMap.get(tensor.dataId).resource as GPUBuffer;
}
