import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, memory } from '@tensorflow/tfjs-core';

/**
 * For tests: counts what the active backend holds from now on. On WebGPU every buffer that the device makes counts until it is
 * destroyed, whoever made it; elsewhere the bytes of all tensors.
 */
export function countDeviceBytes(): () => number {
  if (getBackend() !== 'webgpu') return () => memory().numBytes;
  const { device } = backend() as WebGPUBackend;
  const createBuffer = device.createBuffer.bind(device);
  let held = 0;
  device.createBuffer = (descriptor) => {
    const buffer = createBuffer(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    let size = buffer.size;
    held += size;
    buffer.destroy = () => {
      held -= size;
      size = 0;
      return destroy();
    };
    return buffer;
  };
  return () => held;
}
