import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import { instantiateOnHeap } from '../../wasm/instantiate-on-heap.ts';
import { type WeightFormat, weightFormats } from '../../weights/weight-format.ts';
import { productFunction } from './product-function.ts';
import { unpackFunction } from './unpack-function.ts';

/** Rows that share the loads of x; four sums also hide the latency of their additions. */
export const rowsOfBlock = 4;

/** (words, scales, x, result, blocks, steps, rowBytes, rowScaleBytes, tokenBytes, resultBytes): productFunction. */
type Product = (...numbers: number[]) => void;

/** The functions that multiply packed weights on the heap of the wasm backend. */
export type ProductKernels = Record<`one${'Row' | 'Block'}_${WeightFormat}`, Product> &
  Record<'pairRow_f32' | 'pairBlock_f32', Product> &
  Record<`unpack_${WeightFormat}`, (words: number, scales: number, result: number, steps: number) => void>;

const known = new WeakMap<BackendWasm, { kernels: ProductKernels | undefined }>();

/** Assembled at the first call; undefined where the engine has no vectors. */
export function productKernels(backend: BackendWasm): ProductKernels | undefined {
  let entry = known.get(backend);
  if (entry === undefined) {
    entry = {
      kernels: instantiateOnHeap<ProductKernels>(backend, [
        ...weightFormats.flatMap((format) => [
          productFunction(`oneRow_${format}`, format, 1, 1),
          productFunction(`oneBlock_${format}`, format, rowsOfBlock, 1),
          unpackFunction(`unpack_${format}`, format),
        ]),
        productFunction('pairRow_f32', 'f32', 1, 2),
        productFunction('pairBlock_f32', 'f32', rowsOfBlock, 2),
      ]),
    };
    known.set(backend, entry);
  }
  return entry.kernels;
}
