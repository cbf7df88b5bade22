import { installClone } from './clone.ts';
import { installMatrixProduct } from './matrix-product.ts';
import { installRowGather } from './row-gather.ts';

let installed = false;

/** Replaces the slow kernels of tfjs's wasm backend, which has to be imported before. Repeated calls do nothing. */
export function installWasmKernels(): void {
  if (installed) return;
  installClone();
  installMatrixProduct();
  installRowGather();
  installed = true;
}
