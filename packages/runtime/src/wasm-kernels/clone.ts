import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import {
  getKernel,
  Identity,
  type KernelConfig,
  registerKernel,
  type TensorInfo,
  unregisterKernel,
} from '@tensorflow/tfjs-core';

/**
 * Lets a clone on the wasm backend share its memory with the original, as on the other backends. The stock kernel copies,
 * and tfjs clones everything that a gradient will need: the attention weights alone are megabytes per step.
 */
export function installClone(): void {
  const stock = getKernel(Identity, 'wasm');
  const kernelFunc = ({ inputs: { x }, backend }: { inputs: { x: TensorInfo }; backend: BackendWasm }): TensorInfo => {
    backend.incRef(x.dataId);
    return { dataId: x.dataId, shape: x.shape, dtype: x.dtype };
  };
  unregisterKernel(Identity, 'wasm');
  registerKernel({ ...stock, kernelFunc: kernelFunc as unknown as KernelConfig['kernelFunc'] });
}
