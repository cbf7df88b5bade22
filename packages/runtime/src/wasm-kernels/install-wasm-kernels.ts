import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import {
  GatherV2,
  getKernel,
  Identity,
  type KernelConfig,
  registerKernel,
  type TensorInfo,
  unregisterKernel,
} from '@tensorflow/tfjs-core';
import { installMatrixProduct } from './matrix-product.ts';

let installed = false;

/** Replaces the slow kernels of tfjs's wasm backend, which has to be imported before. Repeated calls do nothing. */
export function installWasmKernels(): void {
  if (installed) return;
  installClone();
  installMatrixProduct();
  installRowGather();
  installed = true;
}

/**
 * Lets a clone on the wasm backend share its memory with the original, as on the other backends. The stock kernel copies,
 * and tfjs clones everything that a gradient will need: the attention weights alone are megabytes per step.
 */
function installClone(): void {
  const stock = getKernel(Identity, 'wasm');
  const kernelFunc = ({ inputs: { x }, backend }: { inputs: { x: TensorInfo }; backend: BackendWasm }): TensorInfo => {
    backend.incRef(x.dataId);
    return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
  };
  unregisterKernel(Identity, 'wasm');
  registerKernel({ ...stock, kernelFunc: kernelFunc as unknown as KernelConfig['kernelFunc'] });
}

interface GatherCall {
  inputs: { x: TensorInfo; indices: TensorInfo };
  backend: BackendWasm;
  attrs: { axis: number; batchDims: number };
}

/**
 * Lets the wasm backend gather rows of a matrix by copying them. The stock kernel finds the place of every single number,
 * which costs as much for the token embedding as half a decoder layer.
 */
function installRowGather(): void {
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
