import { type Code, i8x16, type Local, local, v128 } from '@kvlr/core/wasm';
import { bitsInLanes } from '../../wasm-heap.ts';
import { codePlanes } from './block-format.ts';

/** Sixteen bytes. */
export const bytesInLanes = (bytes: readonly number[]): Code => {
  const word = (first: number) =>
    bytes[first]! | (bytes[first + 1]! << 8) | (bytes[first + 2]! << 16) | (bytes[first + 3]! << 24);
  return v128.const(word(0), word(4), word(8), word(12));
};
/** A byte for each lane. */
export const perLane = (byte: (lane: number) => number): Code =>
  bytesInLanes(Array.from({ length: 16 }, (_, lane) => byte(lane)));

/** Codes of 16 neighbouring tokens as bytes, the first or the second half of a block's; `at` holds the channel's address. */
export function codeBytes(bits: number, at: Local, offset: number, secondHalf: boolean): Code {
  const half = (bytes: Code) => (secondHalf ? i8x16.shr_u(bytes, 4) : bytes);
  const parts = codePlanes(bits).map((plane) => {
    const from = offset + 4 * plane.offset;
    switch (plane.bits) {
      case 4: {
        const bytes = v128.load(local.get(at), from);
        if (plane.shift === 4) return secondHalf ? v128.and(bytes, bitsInLanes(0xf0f0f0f0)) : i8x16.shl(bytes, 4);
        return secondHalf ? i8x16.shr_u(bytes, 4) : v128.and(bytes, bitsInLanes(0x0f0f0f0f));
      }
      case 2: {
        // Of eight bytes twice: lower bits in the lower lanes, in the upper ones the bits above them, which a table moves down.
        const masked = v128.and(
          half(v128.load64_splat(local.get(at), from)),
          perLane((lane) => (lane < 8 ? 3 : 12)),
        );
        const table = [0, 1, 2, 3, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
        return i8x16.swizzle(bytesInLanes(table.map((code) => code << plane.shift)), masked);
      }
      default: {
        const masked = v128.and(
          half(v128.load32_splat(local.get(at), from)),
          perLane((lane) => 1 << (lane >> 2)),
        );
        const isSet = i8x16.ne(masked, bitsInLanes(0));
        return v128.and(
          isSet,
          perLane(() => 1 << plane.shift),
        );
      }
    }
  });
  return parts.reduce((all, part) => v128.or(all, part));
}
