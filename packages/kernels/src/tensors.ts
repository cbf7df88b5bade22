import type { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import {
  backend,
  type DataType,
  engine,
  getBackend,
  type Tensor,
  type TensorInfo,
  type TypedArray,
  util,
} from '@tensorflow/tfjs-core';

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

/** A tensor with a buffer of its own and the values of another; elsewhere than on WebGPU, where no kernel writes in place, a clone. */
export function copyTensor(source: Tensor): Tensor {
  if (getBackend() !== 'webgpu') return source.clone();
  const copy = allocateTensor(source.shape, source.dtype as 'float32' | 'int32');
  copyValues(source, copy);
  return copy;
}

/** Copies the values of a tensor into another of its size, on WebGPU and in the order of kernels: what shares its buffer has them too. */
export function copyValues(source: TensorInfo, target: TensorInfo): void {
  const gpu = backend() as WebGPUBackend;
  const [from, to] = [bufferOf(gpu, source), bufferOf(gpu, target)];
  const internals = gpu as unknown as { commandEncoder: GPUCommandEncoder; commandQueueOwnedIds: WeakSet<object> };
  gpu.endComputePassEncoder();
  gpu.ensureCommandEncoderReady();
  internals.commandEncoder.copyBufferToBuffer(from, 0, to, 0, 4 * util.sizeFromShape(source.shape));
  for (const { dataId } of [source, target]) internals.commandQueueOwnedIds.add(dataId);
  forgetValues(gpu, target);
}

/** Values that were read back before are stale once a buffer is written; without them tfjs reads the buffer. */
export function forgetValues(gpu: WebGPUBackend, { dataId }: TensorInfo): void {
  Object.assign(gpu.tensorMap.get(dataId), { values: null });
}

/** The buffer that holds a tensor on the device, uploaded first where the values still lie in JavaScript. */
export function bufferOf(gpu: WebGPUBackend, tensor: TensorInfo): GPUBuffer {
  gpu.uploadToGPU(tensor.dataId);
  return gpu.tensorMap.get(tensor.dataId).resource as GPUBuffer;
}

export type HostBackend = MathBackendCPU | BackendWasm;

/**
 * The values of a tensor where they lie, on the wasm or the cpu backend: writing to them changes the tensor. On wasm the view
 * goes stale when the heap grows, so take views after the last `allocate`.
 */
function hostValues(backend: HostBackend, tensor: TensorInfo): TypedArray {
  if (isWasm(backend)) return backend.typedArrayFromHeap(tensor);
  return backend.data.get(tensor.dataId).values as TypedArray;
}

/** As `hostValues`, for float32 tensors. */
export function hostFloats(backend: HostBackend, tensor: TensorInfo): Float32Array {
  return hostValues(backend, tensor) as Float32Array;
}

/** As `hostValues`, for int32 tensors: packed words, token ids. */
export function hostWords(backend: HostBackend, tensor: TensorInfo): Int32Array {
  return hostValues(backend, tensor) as Int32Array;
}

/** A new tensor. On wasm its memory holds whatever lay there before. */
export function allocateOnHost(backend: HostBackend, shape: number[], dtype: DataType): TensorInfo {
  if (isWasm(backend)) return backend.makeOutput(shape, dtype);
  return backend.makeTensorInfo(shape, dtype, util.makeZerosTypedArray(util.sizeFromShape(shape), dtype));
}

/** The address of a tensor's first byte in the wasm heap. */
export function heapAddress(backend: BackendWasm, tensor: TensorInfo): number {
  return backend.dataIdMap.get(tensor.dataId).memoryOffset;
}

function isWasm(backend: HostBackend): backend is BackendWasm {
  return 'wasm' in backend;
}
