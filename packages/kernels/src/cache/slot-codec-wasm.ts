import type { CacheDtype } from '@kvlr/core';
import { type Code, f32x4, i16x8, i32, i32x4, local, v128, type WasmFunction, wasmFunction } from '@kvlr/core/wasm';
import { advance, bitsInLanes, countdown, halfToFloat } from '../wasm-heap.ts';

export type PackedCacheDtype = Exclude<CacheDtype, 'f32'>;

/** Numbers of a slot that one step unpacks. */
export const unpackedTogether: Record<PackedCacheDtype, number> = { f16: 4, int8: 8, int4: 8 };

/**
 * (slots, rows, count, steps of a slot, bytes between slots): unpacks slots of a cache (see `CacheFormat`) into rows of float32
 * without gaps. The results are those of `decodeSlot`, bit for bit.
 */
export function unpackSlotsFunction(name: string, dtype: PackedCacheDtype): WasmFunction {
  return wasmFunction(name, [i32, i32, i32, i32, i32], ([slots, rows, count, steps, stride], declare) => {
    const [word, round] = [declare(i32), declare(i32)];
    const [scale, offset, codes] = [declare(v128), declare(v128), declare(v128)];

    /** Scale and offset are the halves of a slot's first word. */
    const readScale = (): Code => {
      const pair = v128.load32_splat(local.get(word));
      return [
        ...local.set(scale, halfToFloat(i32x4.shr_s(i32x4.shl(pair, 16), 3))),
        ...local.set(offset, halfToFloat(i32x4.shr_s(pair, 3))),
        ...advance(word, 4),
      ];
    };
    const unpackHalves = (): Code => {
      const bits = i32x4.shl(v128.load16x4_s(local.get(word)), 13);
      return [...v128.store(local.get(rows), halfToFloat(bits)), ...advance(word, 8)];
    };
    /** The two nibbles of a byte become the two bytes of a 16-bit number, and these then numbers of their own. */
    const readNibbles = (): Code => {
      const low = v128.and(local.get(codes), bitsInLanes(0x000f000f));
      const high = v128.and(i16x8.shl(local.get(codes), 4), bitsInLanes(0x0f000f00));
      return [
        ...local.set(codes, i16x8.extend_low_i8x16_u(v128.load32_zero(local.get(word)))),
        ...local.set(codes, i16x8.extend_low_i8x16_u(v128.or(low, high))),
      ];
    };
    /** Eight codes as 16-bit numbers, then as floats. */
    const unpackCodes = (): Code => {
      const number = (integers: Code) =>
        f32x4.add(local.get(offset), f32x4.mul(local.get(scale), f32x4.convert_i32x4_s(integers)));
      return [
        ...(dtype === 'int8' ? local.set(codes, v128.load8x8_u(local.get(word))) : readNibbles()),
        ...v128.store(local.get(rows), number(i32x4.extend_low_i16x8_s(local.get(codes)))),
        ...v128.store(local.get(rows), number(i32x4.extend_high_i16x8_s(local.get(codes))), 16),
        ...advance(word, dtype === 'int8' ? 8 : 4),
      ];
    };

    return countdown(count, [
      ...local.set(word, local.get(slots)),
      ...(dtype === 'f16' ? [] : readScale()),
      ...local.set(round, local.get(steps)),
      ...countdown(round, [
        ...(dtype === 'f16' ? unpackHalves() : unpackCodes()),
        ...advance(rows, 4 * unpackedTogether[dtype]),
      ]),
      ...advance(slots, local.get(stride)),
    ]);
  });
}
