import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import type { WasmFunction } from '../../wasm/assemble-module.ts';
import { instantiateOnHeap } from '../../wasm/instantiate-on-heap.ts';
import {
  add,
  addFloats,
  advance,
  constant,
  countdown,
  get,
  i32,
  integer,
  load,
  loadIntegerSplat,
  multiplyFloats,
  set,
  store,
  storeFloat,
  sumOfLanes,
  v128,
} from '../../wasm/instructions.ts';
import { plainRowMath, type RowMath } from './row-math.ts';
import { type PackedCacheDtype, unpackedTogether, unpackSlotsFunction } from './unpack-slots-function.ts';

type Kernel = (...numbers: number[]) => void;
type Kernels = Record<'score' | 'add1' | 'add4' | `unpack_${PackedCacheDtype}`, Kernel>;

const packed: PackedCacheDtype[] = ['f16', 'int8', 'int4'];

const known = new WeakMap<BackendWasm, { kernels: Kernels | undefined }>();

/** The loops of attention with vectors on the heap of the wasm backend; plain ones where the engine has none. */
export function vectorRowMath(backend: BackendWasm): RowMath {
  let entry = known.get(backend);
  if (entry === undefined) {
    const unpacking = packed.map((dtype) => unpackSlotsFunction(`unpack_${dtype}`, dtype));
    const functions = [scoreFunction(), addFunction(1), addFunction(4), ...unpacking];
    entry = { kernels: instantiateOnHeap<Kernels>(backend, functions) };
    known.set(backend, entry);
  }
  const { kernels } = entry;
  if (kernels === undefined) return plainRowMath;
  const address = (numbers: Float32Array | Int32Array, at: number) => numbers.byteOffset + 4 * at;
  return {
    score(query, at, rows, scores, to) {
      const { numbers, at: first, stride, width, count } = rows;
      if (width % 4 !== 0) plainRowMath.score(query, at, rows, scores, to);
      else if (count > 0) {
        const [from, into] = [address(numbers, first), address(scores, to)];
        kernels.score(address(query, at), from, into, count, width / 4, 4 * stride);
      }
    },
    add(weights, from, rows, result, to) {
      const { numbers, at: first, stride, width, count } = rows;
      if (width % 4 !== 0) plainRowMath.add(weights, from, rows, result, to);
      else if (count > 0) {
        const [kernel, columns] = width % 16 === 0 ? [kernels.add4, 16] : [kernels.add1, 4];
        const [values, into] = [address(numbers, first), address(result, to)];
        kernel(address(weights, from), values, into, count, width / columns, 4 * stride);
      }
    },
    unpack(slots, rows) {
      const { cache, dtype, at, stride, width, count } = slots;
      if (dtype === 'f32' || width % unpackedTogether[dtype] !== 0) plainRowMath.unpack(slots, rows);
      else if (count > 0) {
        const steps = width / unpackedTogether[dtype];
        kernels[`unpack_${dtype}`](address(cache.words, at), address(rows, 0), count, steps, 4 * stride);
      }
    },
  };
}

/** (query, rows, scores, count, vectors of a row, bytes between rows) */
function scoreFunction(): WasmFunction {
  const [query, rows, scores, count, vectors, stride] = [0, 1, 2, 3, 4, 5] as const;
  const [round, left, right, sum] = [6, 7, 8, 9] as const;
  const product = multiplyFloats(load(get(left), 0), load(get(right), 0));
  const oneRow = [
    ...set(left, get(query)),
    ...set(right, get(rows)),
    ...set(sum, constant(0)),
    ...set(round, get(vectors)),
    ...countdown(round, [
      ...set(sum, addFloats(get(sum), product)),
      ...advance(left, integer(16)),
      ...advance(right, integer(16)),
    ]),
    ...storeFloat(get(scores), 0, sumOfLanes(sum)),
    ...advance(scores, integer(4)),
    ...advance(rows, get(stride)),
  ];
  return { name: 'score', parameters: 6, locals: [i32, i32, i32, v128], body: countdown(count, oneRow) };
}

/** (weights, rows, result, count, blocks of a row, bytes between rows), a block being so many vectors. */
function addFunction(vectors: number): WasmFunction {
  const [weights, rows, result, count, blocks, stride] = [0, 1, 2, 3, 4, 5] as const;
  const [round, factor, row, weight] = [6, 7, 8, 9] as const;
  const sums = Array.from({ length: vectors }, (_, index) => 10 + index);
  const oneBlock = [
    ...set(factor, get(weights)),
    ...set(row, get(rows)),
    ...sums.flatMap((sum, index) => set(sum, load(get(result), 16 * index))),
    ...set(round, get(count)),
    ...countdown(round, [
      ...set(weight, loadIntegerSplat(get(factor), 0)),
      ...sums.flatMap((sum, index) =>
        set(sum, addFloats(get(sum), multiplyFloats(get(weight), load(get(row), 16 * index)))),
      ),
      ...advance(factor, integer(4)),
      ...advance(row, get(stride)),
    ]),
    ...sums.flatMap((sum, index) => store(get(result), 16 * index, get(sum))),
    ...set(result, add(get(result), integer(16 * vectors))),
    ...set(rows, add(get(rows), integer(16 * vectors))),
  ];
  const locals = [i32, i32, i32, v128, ...sums.map(() => v128)];
  return { name: `add${vectors}`, parameters: 6, locals, body: countdown(blocks, oneBlock) };
}
