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
import { plainRowMath, type RowMath, SPARE_SCORES } from './row-math.ts';
import { type PackedCacheDtype, unpackedTogether, unpackSlotsFunction } from './unpack-slots-function.ts';
import { weighFunction } from './weigh-function.ts';

type Kernel = (...numbers: number[]) => void;
type Kernels = Record<'score1' | 'score4' | 'weigh' | 'add1' | 'add4' | `unpack_${PackedCacheDtype}`, Kernel>;

const packed: PackedCacheDtype[] = ['f16', 'int8', 'int4'];

/** Two views of the same four bytes. */
const float = new Float32Array(1);
const bitsOf = { float, integer: new Int32Array(float.buffer) };

const known = new WeakMap<BackendWasm, { kernels: Kernels | undefined }>();

/** The loops of attention with vectors on the heap of the wasm backend; plain ones where the engine has none. */
export function vectorRowMath(backend: BackendWasm): RowMath {
  let entry = known.get(backend);
  if (entry === undefined) {
    const unpacking = packed.map((dtype) => unpackSlotsFunction(`unpack_${dtype}`, dtype));
    const functions = [
      scoreFunction(1),
      scoreFunction(4),
      weighFunction(),
      addFunction(1),
      addFunction(4),
      ...unpacking,
    ];
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
        const [from, into, bytes] = [address(numbers, first), address(scores, to), 4 * stride];
        const rest = count % 4;
        const whole = count - rest;
        if (whole > 0) kernels.score4(address(query, at), from, into, whole / 4, width / 4, bytes);
        if (rest > 0)
          kernels.score1(address(query, at), from + bytes * whole, into + 4 * whole, rest, width / 4, bytes);
      }
    },
    weigh(scores, first, end, highest) {
      const rest = (end - first) % 4;
      const whole = end - rest;
      if (whole === first) return plainRowMath.weigh(scores, first, end, highest);
      const spare = scores.length - SPARE_SCORES;
      bitsOf.float[0] = highest;
      kernels.weigh(address(scores, first), (whole - first) / 4, bitsOf.integer[0]!, address(scores, spare));
      return scores[spare]! + plainRowMath.weigh(scores, whole, end, highest);
    },
    add(weights, from, rows, result, to) {
      const { numbers, at: first, stride, width, count } = rows;
      if (width % 4 !== 0) plainRowMath.add(weights, from, rows, result, to);
      else if (count > 0) {
        const [factors, values, into] = [address(weights, from), address(numbers, first), address(result, to)];
        const rest = width % 16;
        const bytes = 4 * (width - rest);
        if (bytes > 0) kernels.add4(factors, values, into, count, bytes / 64, 4 * stride);
        if (rest > 0) kernels.add1(factors, values + bytes, into + bytes, count, rest / 4, 4 * stride);
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

/**
 * (query, rows, scores, rounds, vectors of a row, bytes between rows), so many rows a round. One sum waits for its last addition at
 * every vector; those of several rows do not wait for each other.
 */
function scoreFunction(together: number): WasmFunction {
  const [query, rows, scores, rounds, vectors, stride] = [0, 1, 2, 3, 4, 5] as const;
  const [round, left] = [6, 7] as const;
  const each = Array.from({ length: together }, (_, index) => index);
  const right = (index: number) => 8 + index;
  const numbers = 8 + together;
  const sum = (index: number) => numbers + 1 + index;
  const oneRound = [
    ...set(left, get(query)),
    ...each.flatMap((index) => [
      ...set(right(index), get(rows)),
      ...set(sum(index), constant(0)),
      ...advance(rows, get(stride)),
    ]),
    ...set(round, get(vectors)),
    ...countdown(round, [
      ...set(numbers, load(get(left), 0)),
      ...each.flatMap((index) => [
        ...set(sum(index), addFloats(get(sum(index)), multiplyFloats(get(numbers), load(get(right(index)), 0)))),
        ...advance(right(index), integer(16)),
      ]),
      ...advance(left, integer(16)),
    ]),
    ...each.flatMap((index) => storeFloat(get(scores), 4 * index, sumOfLanes(sum(index)))),
    ...advance(scores, integer(4 * together)),
  ];
  const locals = [i32, i32, ...each.map(() => i32), v128, ...each.map(() => v128)];
  return { name: `score${together}`, parameters: 6, locals, body: countdown(rounds, oneRound) };
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
