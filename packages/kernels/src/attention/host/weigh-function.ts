import type { WasmFunction } from '../../wasm/assemble-module.ts';
import {
  addFloats,
  addIntegers,
  advance,
  type Code,
  constant,
  countdown,
  get,
  greaterFloats,
  integer,
  load,
  multiplyFloats,
  nearest,
  set,
  shiftIntegersLeft,
  splat,
  store,
  storeFloat,
  subtractFloats,
  sumOfLanes,
  toIntegers,
  v128,
} from '../../wasm/instructions.ts';

const bits = new DataView(new ArrayBuffer(4));
/** A vector of four equal floats. */
function floats(value: number): Code {
  bits.setFloat32(0, value);
  return constant(bits.getUint32(0));
}

/** ln 2 in two parts, the first with so few bits that whole multiples of it are exact (Cody and Waite 1980). */
const [ln2High, ln2Low] = [0.693359375, -2.1219444e-4];
/** 1/n!: with |r| <= ln 2 / 2, e^r less this much of its series is below 2e-7 of it. */
const coefficients = [1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1];

/** Parameters: (scores, vectors, bits of the highest score, where the sum goes). */
const [scores, vectors, highest, total] = [0, 1, 2, 3];
/** Locals. */
const [top, sum, x, whole, value] = [4, 5, 6, 7, 8];

/** Scores become e^(score - highest), e^x = 2^n e^r with x = n ln 2 + r; the float at `total` becomes their sum. */
export function weighFunction(): WasmFunction {
  const series = coefficients
    .slice(1)
    .flatMap((coefficient) => set(value, addFloats(multiplyFloats(get(value), get(x)), floats(coefficient))));
  const oneVector = [
    // Below, weights vanish beside that of the highest score, which is 1.
    ...set(x, greaterFloats(subtractFloats(load(get(scores), 0), get(top)), floats(-87))),
    ...set(whole, nearest(multiplyFloats(get(x), floats(Math.LOG2E)))),
    ...set(x, subtractFloats(get(x), multiplyFloats(get(whole), floats(ln2High)))),
    ...set(x, subtractFloats(get(x), multiplyFloats(get(whole), floats(ln2Low)))),
    ...set(value, floats(coefficients[0]!)),
    ...series,
    ...set(value, multiplyFloats(get(value), powerOfTwo(get(whole)))),
    ...store(get(scores), 0, get(value)),
    ...set(sum, addFloats(get(sum), get(value))),
    ...advance(scores, integer(16)),
  ];
  const body = [
    ...set(top, splat(get(highest))),
    ...set(sum, constant(0)),
    ...countdown(vectors, oneVector),
    ...storeFloat(get(total), 0, sumOfLanes(sum)),
  ];
  return { name: 'weigh', parameters: 4, locals: Array(5).fill(v128), body };
}

/** 2^n of whole numbers from -126 to 127: n is the exponent of a float's bits. */
function powerOfTwo(exponent: Code): Code {
  return shiftIntegersLeft(addIntegers(toIntegers(exponent), constant(127)), 23);
}
