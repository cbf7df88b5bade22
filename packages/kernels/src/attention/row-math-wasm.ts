import {
  type Code,
  f32,
  f32x4,
  i32,
  i32x4,
  type Local,
  local,
  v128,
  type WasmFunction,
  wasmFunction,
} from '@kvlr/core/wasm';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import {
  type PackedCacheDtype,
  packedCacheDtypes,
  unpackedTogether,
  unpackSlotsFunction,
} from '../cache/slot-codec-wasm.ts';
import { addProduct, advance, bitsInLanes, bitsOfFloat, countdown, functionsOnHeap, sumOfLanes } from '../wasm-heap.ts';
import { plainRowMath, type RowMath, SPARE_SCORES } from './row-math.ts';

const functionsOf = functionsOnHeap<
  'score1' | 'score4' | 'exponentiate' | 'add1' | 'add4' | `unpack_${PackedCacheDtype}`
>(() => [
  scoreFunction(1),
  scoreFunction(4),
  exponentiateFunction(),
  addFunction(1),
  addFunction(4),
  ...packedCacheDtypes.map((dtype) => unpackSlotsFunction(`unpack_${dtype}`, dtype)),
]);

/** The loops of attention with vectors on the heap of the wasm backend; plain ones where the engine has none. */
export function vectorRowMath(backend: BackendWasm): RowMath {
  const functions = functionsOf(backend);
  if (functions === undefined) return plainRowMath;
  const address = (numbers: Float32Array | Int32Array, at: number) => numbers.byteOffset + 4 * at;
  return {
    score(query, at, rows, scores, to) {
      const { numbers, at: first, stride, width, count } = rows;
      if (width % 4 !== 0) plainRowMath.score(query, at, rows, scores, to);
      else if (count > 0) {
        const [from, into, bytes] = [address(numbers, first), address(scores, to), 4 * stride];
        const rest = count % 4;
        const whole = count - rest;
        if (whole > 0) functions.score4(address(query, at), from, into, whole / 4, width / 4, bytes);
        if (rest > 0)
          functions.score1(address(query, at), from + bytes * whole, into + 4 * whole, rest, width / 4, bytes);
      }
    },
    exponentiate(scores, first, end, highest) {
      const rest = (end - first) % 4;
      const whole = end - rest;
      if (whole === first) return plainRowMath.exponentiate(scores, first, end, highest);
      const spare = scores.length - SPARE_SCORES;
      functions.exponentiate(address(scores, first), (whole - first) / 4, bitsOfFloat(highest), address(scores, spare));
      return scores[spare]! + plainRowMath.exponentiate(scores, whole, end, highest);
    },
    add(weights, from, rows, result, to) {
      const { numbers, at: first, stride, width, count } = rows;
      if (width % 4 !== 0) plainRowMath.add(weights, from, rows, result, to);
      else if (count > 0) {
        const [factors, values, into] = [address(weights, from), address(numbers, first), address(result, to)];
        const rest = width % 16;
        const bytes = 4 * (width - rest);
        if (bytes > 0) functions.add4(factors, values, into, count, bytes / 64, 4 * stride);
        if (rest > 0) functions.add1(factors, values + bytes, into + bytes, count, rest / 4, 4 * stride);
      }
    },
    unpack(slots, rows) {
      const { cache, dtype, at, stride, width, count } = slots;
      if (dtype === 'f32' || width % unpackedTogether(dtype) !== 0) plainRowMath.unpack(slots, rows);
      else if (count > 0) {
        const steps = width / unpackedTogether(dtype);
        functions[`unpack_${dtype}`](address(cache.words, at), address(rows, 0), count, steps, 4 * stride);
      }
    },
  };
}

/**
 * (query, rows, scores, rounds, vectors of a row, bytes between rows), so many rows a round. One sum waits for its last addition at
 * every vector; those of several rows do not wait for each other.
 */
function scoreFunction(together: number): WasmFunction {
  return wasmFunction(
    `score${together}`,
    [i32, i32, i32, i32, i32, i32],
    ([query, rows, scores, rounds, vectors, stride], declare) => {
      const [round, left] = [declare(i32), declare(i32)];
      const right = Array.from({ length: together }, () => declare(i32));
      const numbers = declare(v128);
      const sums = right.map(() => declare(v128));
      return countdown(rounds, [
        ...local.set(left, local.get(query)),
        ...sums.flatMap((sum, index) => [
          ...local.set(right[index]!, local.get(rows)),
          ...local.set(sum, bitsInLanes(0)),
          ...advance(rows, local.get(stride)),
        ]),
        ...local.set(round, local.get(vectors)),
        ...countdown(round, [
          ...local.set(numbers, v128.load(local.get(left))),
          ...sums.flatMap((sum, index) => [
            ...addProduct(sum, local.get(numbers), v128.load(local.get(right[index]!))),
            ...advance(right[index]!, 16),
          ]),
          ...advance(left, 16),
        ]),
        ...sums.flatMap((sum, index) => f32.store(local.get(scores), sumOfLanes(sum), 4 * index)),
        ...advance(scores, 4 * together),
      ]);
    },
  );
}

/** (weights, rows, result, count, blocks of a row, bytes between rows), a block being so many vectors. */
function addFunction(vectors: number): WasmFunction {
  return wasmFunction(
    `add${vectors}`,
    [i32, i32, i32, i32, i32, i32],
    ([weights, rows, result, count, blocks, stride], declare) => {
      const [round, factor, row, weight] = [declare(i32), declare(i32), declare(i32), declare(v128)];
      const sums = Array.from({ length: vectors }, () => declare(v128));
      return countdown(blocks, [
        ...local.set(factor, local.get(weights)),
        ...local.set(row, local.get(rows)),
        ...sums.flatMap((sum, index) => local.set(sum, v128.load(local.get(result), 16 * index))),
        ...local.set(round, local.get(count)),
        ...countdown(round, [
          ...local.set(weight, v128.load32_splat(local.get(factor))),
          ...sums.flatMap((sum, index) => addProduct(sum, local.get(weight), v128.load(local.get(row), 16 * index))),
          ...advance(factor, 4),
          ...advance(row, local.get(stride)),
        ]),
        ...sums.flatMap((sum, index) => v128.store(local.get(result), local.get(sum), 16 * index)),
        ...advance(result, 16 * vectors),
        ...advance(rows, 16 * vectors),
      ]);
    },
  );
}

/** ln 2 in two parts, the first with so few bits that whole multiples of it are exact (Cody and Waite 1980). */
const [ln2High, ln2Low] = [0.693359375, -2.1219444e-4];
/** 1/n!: with |r| <= ln 2 / 2, e^r less this much of its series is below 2e-7 of it. */
const coefficients = [1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1];

/**
 * (scores, vectors, bits of the highest score, where the sum goes): scores become e^(score - highest), e^x = 2^n e^r with
 * x = n ln 2 + r.
 */
function exponentiateFunction(): WasmFunction {
  const floats = (value: number): Code => bitsInLanes(bitsOfFloat(value));
  /** 2^n of whole numbers from -126 to 127: n is the exponent of a float's bits. */
  const powerOfTwo = (exponent: Local): Code =>
    i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(local.get(exponent)), bitsInLanes(127)), 23);
  return wasmFunction('exponentiate', [i32, i32, i32, i32], ([scores, vectors, highest, total], declare) => {
    const [top, sum, x, whole, value] = [v128, v128, v128, v128, v128].map(declare) as [
      Local,
      Local,
      Local,
      Local,
      Local,
    ];
    const subtract = (left: Local, right: Code): Code => f32x4.sub(local.get(left), right);
    const [first, ...others] = coefficients as [number, ...number[]];
    return [
      ...local.set(top, i32x4.splat(local.get(highest))),
      ...local.set(sum, bitsInLanes(0)),
      ...countdown(vectors, [
        // Below, weights vanish beside that of the highest score, which is 1.
        ...local.set(x, f32x4.max(f32x4.sub(v128.load(local.get(scores)), local.get(top)), floats(-87))),
        ...local.set(whole, f32x4.nearest(f32x4.mul(local.get(x), floats(Math.LOG2E)))),
        ...local.set(x, subtract(x, f32x4.mul(local.get(whole), floats(ln2High)))),
        ...local.set(x, subtract(x, f32x4.mul(local.get(whole), floats(ln2Low)))),
        ...local.set(value, floats(first)),
        ...others.flatMap((coefficient) =>
          local.set(value, f32x4.add(f32x4.mul(local.get(value), local.get(x)), floats(coefficient))),
        ),
        ...local.set(value, f32x4.mul(local.get(value), powerOfTwo(whole))),
        ...v128.store(local.get(scores), local.get(value)),
        ...local.set(sum, f32x4.add(local.get(sum), local.get(value))),
        ...advance(scores, 16),
      ]),
      ...f32.store(local.get(total), sumOfLanes(sum)),
    ];
  });
}
