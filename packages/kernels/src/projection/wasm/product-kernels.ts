import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { instantiateOnHeap } from '../../wasm/instantiate-on-heap.ts';
import { integerProductFunction } from './integer-product-function.ts';
import { productFunction } from './product-function.ts';
import { unpackFunction } from './unpack-function.ts';

/** Rows of a block, which share the loads of x. One row streams memory best; whole numbers are bound by instructions. */
export const rowsOfBlock = { f32: 1, f16: 1, int8: 4, int4: 4, pair: 4 };

/** The functions that multiply packed weights on the heap of the wasm backend; their parameters stand where they are made. */
export type ProductKernels = Record<string, (...numbers: number[]) => void>;

const known = new WeakMap<BackendWasm, { kernels: ProductKernels | undefined }>();

/** Assembled at the first call; undefined where the engine has no vectors. */
export function productKernels(backend: BackendWasm): ProductKernels | undefined {
  let entry = known.get(backend);
  if (entry === undefined) {
    const floats = (['f32', 'f16'] as const).flatMap((format) => [
      productFunction(`row_${format}`, format, 1, 1),
      productFunction(`block_${format}`, format, rowsOfBlock[format], 1),
    ]);
    const integers = (['int8', 'int4'] as const).flatMap((format) => [
      integerProductFunction(`row_${format}`, format, 1),
      integerProductFunction(`block_${format}`, format, rowsOfBlock[format]),
    ]);
    const pairs = [productFunction('row_pair', 'f32', 1, 2), productFunction('block_pair', 'f32', rowsOfBlock.pair, 2)];
    const unpacking = (['f16', 'int8', 'int4'] as const).map((format) => unpackFunction(`unpack_${format}`, format));
    entry = { kernels: instantiateOnHeap(backend, [...floats, ...integers, ...pairs, ...unpacking]) };
    known.set(backend, entry);
  }
  return entry.kernels;
}
