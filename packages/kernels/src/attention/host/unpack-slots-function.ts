import type { CacheDtype } from '@kvlr/core';
import type { WasmFunction } from '../../wasm/assemble-module.ts';
import { halfToFloat } from '../../wasm/half-to-float.ts';
import {
  addFloats,
  advance,
  and,
  type Code,
  constant,
  countdown,
  get,
  highWordsAsIntegers,
  i32,
  integer,
  loadInteger,
  loadIntegerSplat,
  loadUnsignedBytesAsWords,
  loadWordsAsIntegers,
  lowBytesAsWords,
  lowWordsAsIntegers,
  multiplyFloats,
  or,
  set,
  shiftIntegersLeft,
  shiftIntegersRight,
  shiftWordsLeft,
  store,
  toFloats,
  v128,
} from '../../wasm/instructions.ts';

export type PackedCacheDtype = Exclude<CacheDtype, 'f32'>;

/** Numbers of a slot that one step unpacks. */
export const unpackedTogether: Record<PackedCacheDtype, number> = { f16: 4, int8: 8, int4: 8 };

/** Parameters: (slots, rows, count, steps of a slot, bytes between slots). */
const [slots, rows, count, steps, stride] = [0, 1, 2, 3, 4];
/** Locals. */
const [word, round, scale, offset, codes] = [5, 6, 7, 8, 9];

/** Unpacks slots of a cache (see `CacheFormat`) into rows of float32 without gaps. The results are those of `decodeSlot`, bit for bit. */
export function unpackSlotsFunction(name: string, dtype: PackedCacheDtype): WasmFunction {
  const oneStep = dtype === 'f16' ? stepOfHalves() : stepOfCodes(dtype);
  const oneSlot = [
    ...set(word, get(slots)),
    ...(dtype === 'f16' ? [] : readScale()),
    ...set(round, get(steps)),
    ...countdown(round, [...oneStep, ...advance(rows, integer(4 * unpackedTogether[dtype]))]),
    ...advance(slots, get(stride)),
  ];
  return { name, parameters: 5, locals: [i32, i32, v128, v128, v128], body: countdown(count, oneSlot) };
}

function stepOfHalves(): Code {
  const bits = shiftIntegersLeft(loadWordsAsIntegers(get(word), 0), 13);
  return [...store(get(rows), 0, halfToFloat(bits)), ...advance(word, integer(8))];
}

/** Scale and offset are the halves of a slot's first word. */
function readScale(): Code {
  const pair = loadIntegerSplat(get(word), 0);
  return [
    ...set(scale, halfToFloat(shiftIntegersRight(shiftIntegersLeft(pair, 16), 3))),
    ...set(offset, halfToFloat(shiftIntegersRight(pair, 3))),
    ...advance(word, integer(4)),
  ];
}

/** Eight codes as 16-bit numbers, then as floats. */
function stepOfCodes(dtype: 'int8' | 'int4'): Code {
  const number = (integers: Code) => addFloats(get(offset), multiplyFloats(get(scale), toFloats(integers)));
  return [
    ...(dtype === 'int8' ? set(codes, loadUnsignedBytesAsWords(get(word), 0)) : readNibbles()),
    ...store(get(rows), 0, number(lowWordsAsIntegers(get(codes)))),
    ...store(get(rows), 16, number(highWordsAsIntegers(get(codes)))),
    ...advance(word, integer(dtype === 'int8' ? 8 : 4)),
  ];
}

/** The two nibbles of a byte become the two bytes of a 16-bit number, and these in turn numbers of their own. */
function readNibbles(): Code {
  const low = and(get(codes), constant(0x000f000f));
  const high = and(shiftWordsLeft(get(codes), 4), constant(0x0f000f00));
  return [...set(codes, lowBytesAsWords(loadInteger(get(word), 0))), ...set(codes, lowBytesAsWords(or(low, high)))];
}
