import { gaussianLevels } from '@kvlr/cache';
import {
  type Code,
  f32x4,
  i8x16,
  i32,
  type Local,
  local,
  v128,
  type WasmFunction,
  wasmFunction,
} from '@kvlr/core/wasm';
import { bytesInLanes, codeBytes } from '../../cache/blocks/code-bytes-wasm.ts';
import { addProduct, advance, bitsInLanes, countdown } from '../../wasm-heap.ts';

/** Bits of the codes that there are functions for. */
export const LEVEL_BITS = [1, 2, 3, 4, 5, 6, 7, 8] as const;

/**
 * (codes, numbers, channels): the levels of 32 codes of so many bits of each channel, as floats one behind another. Each of a level's four
 * bytes comes from tables of 16 by its code; codes beyond a table's find 0 there.
 */
export function levelsFunction(bits: (typeof LEVEL_BITS)[number]): WasmFunction {
  const { levels } = gaussianLevels(bits);
  const bytesOfLevels = new Uint8Array(Float32Array.from(levels).buffer);
  const tables = Math.ceil(levels.length / 16);
  return wasmFunction(`levels_${bits}`, [i32, i32, i32], ([codes, numbers, channels], declare) => {
    const ofCode = declare(v128);
    const bytes = [0, 1, 2, 3].map(() => declare(v128)) as [Local, Local, Local, Local];
    const pairs = [0, 1, 2, 3].map(() => declare(v128)) as [Local, Local, Local, Local];
    const get = local.get;
    const lookUp = (byte: number): Code =>
      Array.from({ length: tables }, (_, table) => {
        const lanes = Array.from({ length: 16 }, (_, lane) => bytesOfLevels[4 * (16 * table + lane) + byte] ?? 0);
        const places =
          table === 0 ? get(ofCode) : i8x16.sub(get(ofCode), bitsInLanes(0x01010101 * ((16 * table) & 0xff)));
        return i8x16.swizzle(bytesInLanes(lanes), places);
      }).reduce((all, part) => v128.or(all, part));
    /** Bytes of the first, or second, half of two vectors by turns, `size` at a time. */
    const interleave = (first: Local, second: Local, size: number, upper: boolean): Code =>
      i8x16.shuffle(
        get(first),
        get(second),
        Array.from({ length: 16 }, (_, lane) => {
          const item = Math.floor(lane / (2 * size));
          return (upper ? 8 : 0) + item * size + (lane % size) + (Math.floor(lane / size) % 2) * 16;
        }),
      );
    const half = (second: boolean): Code => [
      ...local.set(ofCode, codeBytes(bits, codes, 0, second)),
      ...bytes.flatMap((byte, place) => local.set(byte, lookUp(place))),
      ...local.set(pairs[0], interleave(bytes[0], bytes[1], 1, false)),
      ...local.set(pairs[1], interleave(bytes[2], bytes[3], 1, false)),
      ...local.set(pairs[2], interleave(bytes[0], bytes[1], 1, true)),
      ...local.set(pairs[3], interleave(bytes[2], bytes[3], 1, true)),
      ...[0, 1, 2, 3].flatMap((four) => {
        const [low, high] = four < 2 ? [pairs[0], pairs[1]] : [pairs[2], pairs[3]];
        return v128.store(get(numbers), interleave(low, high, 2, four % 2 === 1), 16 * (four + (second ? 4 : 0)));
      }),
    ];
    return countdown(channels, [...half(false), ...half(true), ...advance(codes, 4 * bits), ...advance(numbers, 128)]);
  });
}

/**
 * (levels, basis, means, numbers, channels, pairs of rows, bytes of a row of the basis): means plus the product of the basis and levels, 32
 * numbers a row. Two rows and 16 tokens at a time, so that their sums stay in registers.
 */
export function expandFunction(): WasmFunction {
  return wasmFunction(
    'expand',
    [i32, i32, i32, i32, i32, i32, i32],
    ([levels, basis, means, numbers, channels, pairs, rowBytes], declare) => {
      const get = local.get;
      const [level, factor, round] = [declare(i32), declare(i32), declare(i32)];
      const [first, second] = [declare(v128), declare(v128)];
      const [ofFirst, ofSecond] = [0, 1].map(() => Array.from({ length: 4 }, () => declare(v128))) as [
        Local[],
        Local[],
      ];
      const part = (offset: number): Code => [
        ...local.set(level, get(levels)),
        ...local.set(factor, get(basis)),
        ...local.set(round, get(channels)),
        ...ofFirst.flatMap((sum) => local.set(sum, v128.load32_splat(get(means)))),
        ...ofSecond.flatMap((sum) => local.set(sum, v128.load32_splat(get(means), 4))),
        ...countdown(round, [
          ...local.set(first, v128.load32_splat(get(factor))),
          ...local.set(second, v128.load32_splat(i32.add(get(factor), get(rowBytes)))),
          ...[0, 1, 2, 3].flatMap((four) => {
            const number = v128.load(get(level), offset + 16 * four);
            return [
              ...addProduct(ofFirst[four]!, get(first), number),
              ...addProduct(ofSecond[four]!, get(second), number),
            ];
          }),
          ...advance(level, 128),
          ...advance(factor, 4),
        ]),
        ...ofFirst.flatMap((sum, four) => v128.store(get(numbers), get(sum), offset + 16 * four)),
        ...ofSecond.flatMap((sum, four) => v128.store(get(numbers), get(sum), offset + 128 + 16 * four)),
      ];
      return countdown(pairs, [
        ...part(0),
        ...part(64),
        ...advance(basis, get(rowBytes)),
        ...advance(basis, get(rowBytes)),
        ...advance(means, 8),
        ...advance(numbers, 256),
      ]);
    },
  );
}

/** (first channels, second channels, turns, pairs): rotates 32 tokens of each pair in place. */
export function turnFunction(): WasmFunction {
  return wasmFunction('turn', [i32, i32, i32, i32], ([first, second, turns, pairs], declare) => {
    const [u, v, cosine, sine] = [0, 1, 2, 3].map(() => declare(v128)) as [Local, Local, Local, Local];
    const times = (left: Local, right: Local) => f32x4.mul(local.get(left), local.get(right));
    return countdown(pairs, [
      ...Array.from({ length: 8 }, (_, four) => 16 * four).flatMap((offset) => [
        ...local.set(u, v128.load(local.get(first), offset)),
        ...local.set(v, v128.load(local.get(second), offset)),
        ...local.set(cosine, v128.load(local.get(turns), offset)),
        ...local.set(sine, v128.load(local.get(turns), offset + 128)),
        ...v128.store(local.get(first), f32x4.sub(times(u, cosine), times(v, sine)), offset),
        ...v128.store(local.get(second), f32x4.add(times(v, cosine), times(u, sine)), offset),
      ]),
      ...advance(first, 128),
      ...advance(second, 128),
      ...advance(turns, 256),
    ]);
  });
}
