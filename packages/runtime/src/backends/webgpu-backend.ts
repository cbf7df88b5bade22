import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { engine, findBackendFactory, registerBackend, removeBackend, util } from '@tensorflow/tfjs-core';
import { hostNavigator } from './host-navigator.ts';
import { keepBindings } from './kept-bindings.ts';

/** What the kernels make use of, or measurements do, where the adapter has it. tfjs itself asks for the first two. */
const DEVICE_FEATURES = ['timestamp-query', 'bgra8unorm-storage', 'subgroups', 'shader-f16'];

/** Limits that a device has as high as its adapter. tfjs itself asks for all but the last. */
const DEVICE_LIMITS = [
  'maxComputeWorkgroupStorageSize',
  'maxComputeWorkgroupsPerDimension',
  'maxStorageBufferBindingSize',
  'maxBufferSize',
  'maxComputeWorkgroupSizeX',
  'maxComputeInvocationsPerWorkgroup',
  'maxStorageBuffersPerShaderStage',
] as const;

/** As tfjs registers its own. */
const WEBGPU_PRIORITY = 3;

let ownDevice = false;

/** Loads tfjs's WebGPU backend, on a device that has more features than the one tfjs would make. */
export async function importWebGpu(): Promise<void> {
  const { WebGPUBackend } = await import('@tensorflow/tfjs-backend-webgpu');
  // One that runs stays: others may have tensors on it.
  if (ownDevice || 'webgpu' in engine().registry || !findBackendFactory('webgpu')) return;
  ownDevice = true;
  removeBackend('webgpu');
  const make = async () => {
    const adapter = await hostNavigator()?.gpu?.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) throw new Error('no adapter answers');
    const device = await adapter.requestDevice({
      requiredFeatures: DEVICE_FEATURES.filter((feature) => adapter.features.has(feature)) as GPUFeatureName[],
      requiredLimits: Object.fromEntries(DEVICE_LIMITS.map((limit) => [limit, adapter.limits[limit]])),
    });
    return keepBindings(writeUploads(new WebGPUBackend(device, adapter.info)));
  };
  registerBackend('webgpu', make, WEBGPU_PRIORITY);
}

const TENSOR_USAGE = 0x80 | 0x4 | 0x8; // STORAGE, COPY_SRC, COPY_DST

/**
 * Uploads tensors through the queue. tfjs 4.22 makes a mapped buffer for every upload, copies from it and destroys it, and ends the compute
 * pass for the copy: every number in an op of training (`mul(x, 0.5)`) costs that. A write takes effect before all dispatches that are
 * recorded and not submitted; none of them can know the buffer, since tfjs's pool hands out what nothing recorded holds.
 */
function writeUploads(gpu: WebGPUBackend): WebGPUBackend {
  const original = gpu.uploadToGPU.bind(gpu);
  const uploadToGPU: WebGPUBackend['uploadToGPU'] = (dataId) => {
    const data = gpu.tensorMap.get(dataId);
    const { dtype, shape, values } = data;
    if (data.resource) return;
    if (dtype === 'complex64') {
      original(dataId);
      return;
    }
    const size = 4 * util.sizeFromShape(shape);
    const buffer = gpu.bufferManager.acquireBuffer(size, TENSOR_USAGE);
    if (values) {
      const words = wordsOf(values as ArrayLike<number>, dtype === 'float32' ? Float32Array : Int32Array);
      gpu.queue.writeBuffer(buffer, 0, words.buffer, words.byteOffset, size);
      // Once uploaded they are not kept.
      Object.assign(data, { values: null });
    }
    Object.assign(data, { resource: buffer });
  };
  return Object.assign(gpu, { uploadToGPU });
}

/** Numbers as they lie in a buffer: booleans are bytes before. */
function wordsOf(values: ArrayLike<number>, Words: typeof Float32Array | typeof Int32Array): Float32Array | Int32Array {
  return values instanceof Words ? values : Words.from(values);
}
