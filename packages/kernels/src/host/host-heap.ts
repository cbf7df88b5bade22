import type { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { type DataType, type TensorInfo, type TypedArray, util } from '@tensorflow/tfjs-core';

export type HostBackend = MathBackendCPU | BackendWasm;

/**
 * The values of a tensor where they lie, on the wasm or the cpu backend: writing to them changes the tensor. On wasm the view
 * goes stale when the heap grows, so take views after the last `allocate`.
 */
export function hostValues(backend: HostBackend, tensor: TensorInfo): TypedArray {
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
