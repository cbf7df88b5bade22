import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend } from '@tensorflow/tfjs-core';

export interface CopySubject {
  /** Milliseconds of one copy, from so many in a row. */
  run(copies: number): Promise<number>;
  dispose(): void;
}

/** A block of memory that is copied to another where the active backend keeps its tensors: GPU buffers, else host memory. */
export function prepareCopy(bytes: number): CopySubject {
  return getBackend() === 'webgpu' ? copyOnGpu((backend() as WebGPUBackend).device, bytes) : copyOnHost(bytes);
}

function copyOnGpu(device: GPUDevice, size: number): CopySubject {
  const usage = GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
  const source = device.createBuffer({ size, usage });
  const target = device.createBuffer({ size, usage });
  return {
    async run(copies) {
      await device.queue.onSubmittedWorkDone();
      const started = performance.now();
      const encoder = device.createCommandEncoder();
      for (let copy = 0; copy < copies; copy++) encoder.copyBufferToBuffer(source, 0, target, 0, size);
      device.queue.submit([encoder.finish()]);
      await device.queue.onSubmittedWorkDone();
      return (performance.now() - started) / copies;
    },
    dispose() {
      source.destroy();
      target.destroy();
    },
  };
}

function copyOnHost(bytes: number): CopySubject {
  const source = new Float32Array(bytes / 4).fill(1);
  const target = new Float32Array(bytes / 4);
  return {
    async run(copies) {
      const started = performance.now();
      for (let copy = 0; copy < copies; copy++) target.set(source);
      return (performance.now() - started) / copies;
    },
    dispose() {},
  };
}
