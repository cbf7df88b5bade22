import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import {
  GatherV2,
  getKernel,
  type KernelConfig,
  registerKernel,
  type TensorInfo,
  unregisterKernel,
} from '@tensorflow/tfjs-core';

interface GatherCall {
  inputs: { x: TensorInfo; indices: TensorInfo };
  backend: BackendWasm;
  attrs: { axis: number; batchDims: number };
}

/**
 * Lets the wasm backend gather rows of a matrix by copying them. The stock kernel finds the place of every single number,
 * which costs as much for the token embedding as half a decoder layer.
 */
export function installRowGather(): void {
  const stock = getKernel(GatherV2, 'wasm');
  const kernelFunc = (call: GatherCall): TensorInfo => {
    const { inputs, backend, attrs } = call;
    const { x, indices } = inputs;
    const rows = x.shape.length === 2 && indices.shape.length === 1 && attrs.axis === 0 && attrs.batchDims === 0;
    if (!rows || x.dtype !== 'float32') {
      return stock.kernelFunc({ inputs: { x, indices }, backend, attrs: { ...attrs } }) as TensorInfo;
    }
    const width = x.shape[1]!;
    const result = backend.makeOutput([indices.shape[0]!, width], 'float32');
    const from = backend.typedArrayFromHeap(x);
    const to = backend.typedArrayFromHeap(result);
    backend.typedArrayFromHeap(indices).forEach((row, place) => {
      to.set(from.subarray(row * width, (row + 1) * width), place * width);
    });
    return result;
  };
  unregisterKernel(GatherV2, 'wasm');
  registerKernel({ ...stock, kernelFunc: kernelFunc as unknown as KernelConfig['kernelFunc'] });
}
