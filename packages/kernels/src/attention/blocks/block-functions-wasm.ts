import { BLOCK_TOKENS } from '@kvlr/core';
import {
  type Code,
  f32,
  f32x4,
  i8x16,
  i16x8,
  i32,
  i32x4,
  type Local,
  local,
  v128,
  type WasmFunction,
  wasmFunction,
} from '@kvlr/core/wasm';
import { type BlockBits, valueLevels } from '../../cache/blocks/block-format.ts';
import { codeBytes, perLane } from '../../cache/blocks/code-bytes-wasm.ts';
import { addProduct, advance, bitsInLanes, bitsOfFloat, countdown, halfToFloat } from '../../wasm-heap.ts';

/** Bytes of the six coefficients of four pairs, as `prepare` writes them. */
const COEFFICIENT_BYTES = 6 * 16;
/** Bytes of `turns` for one frequency: 32 cosines, then 32 sines. */
const TURN_BYTES = 2 * 4 * BLOCK_TOKENS;

/**
 * (query, start, headers, coefficients, quads, bytes of half a head): what a query makes of the keys of a block, four pairs of channels
 * at a time. With the query turned back by the block's first position, (x, y), a key (u, v) turned by n positions scores
 * cos (x u + y v) + sin (y u - x v); u and v are affine in their codes, and so are both sums: their factors and constants.
 */
export function prepareFunction(): WasmFunction {
  return wasmFunction(
    'prepare',
    [i32, i32, i32, i32, i32, i32],
    ([query, start, headers, coefficients, quads, halfBytes], declare) => {
      const [x, y, cosine, sine, header] = [v128, v128, v128, v128, v128].map(declare) as [
        Local,
        Local,
        Local,
        Local,
        Local,
      ];
      const [scaleOfFirst, leastOfFirst, scaleOfSecond, leastOfSecond] = [v128, v128, v128, v128].map(declare) as [
        Local,
        Local,
        Local,
        Local,
      ];
      const [a, b] = [declare(v128), declare(v128)];
      const behind = (pointer: Local) => i32.add(local.get(pointer), local.get(halfBytes));
      const times = (left: Local, right: Local) => f32x4.mul(local.get(left), local.get(right));
      const readHeader = (address: Code, scale: Local, least: Local): Code => [
        ...local.set(header, v128.load(address)),
        ...local.set(scale, halfToFloat(i32x4.shr_s(i32x4.shl(local.get(header), 16), 3))),
        ...local.set(least, halfToFloat(i32x4.shr_s(local.get(header), 3))),
      ];
      const write = (index: number, value: Code) => v128.store(local.get(coefficients), value, 16 * index);
      return countdown(quads, [
        ...local.set(cosine, v128.load(local.get(start))),
        ...local.set(sine, v128.load(behind(start))),
        ...local.set(a, v128.load(local.get(query))),
        ...local.set(b, v128.load(behind(query))),
        ...local.set(x, f32x4.add(times(a, cosine), times(b, sine))),
        ...local.set(y, f32x4.sub(times(b, cosine), times(a, sine))),
        ...readHeader(local.get(headers), scaleOfFirst, leastOfFirst),
        ...readHeader(behind(headers), scaleOfSecond, leastOfSecond),
        ...write(0, f32x4.add(times(x, leastOfFirst), times(y, leastOfSecond))),
        ...write(1, times(x, scaleOfFirst)),
        ...write(2, times(y, scaleOfSecond)),
        ...write(3, f32x4.sub(times(y, leastOfFirst), times(x, leastOfSecond))),
        ...write(4, times(y, scaleOfFirst)),
        ...write(5, times(x, scaleOfSecond)),
        ...[query, start, headers].flatMap((pointer) => advance(pointer, 16)),
        ...advance(coefficients, COEFFICIENT_BYTES),
      ]);
    },
  );
}

/** (coefficients, turns, codes of the first half of the channels, of the second half, scores, quads): scores of the 32 tokens. */
export function scoreFunction(name: string, bits: BlockBits): WasmFunction {
  return wasmFunction(
    name,
    [i32, i32, i32, i32, i32, i32],
    ([coefficients, turns, firstCodes, secondCodes, scores, quads], declare) => {
      const pointers = [coefficients, turns, firstCodes, secondCodes];
      const moving = pointers.map(() => declare(i32)) as [Local, Local, Local, Local];
      const [ofPair, turn, first, second] = moving;
      const round = declare(i32);
      const factors = Array.from({ length: 6 }, () => declare(v128));
      const [firstBytes, secondBytes, firstShorts, secondShorts, u, v] = Array.from({ length: 6 }, () =>
        declare(v128),
      ) as [Local, Local, Local, Local, Local, Local];
      const sums = Array.from({ length: 4 }, () => declare(v128));
      const get = local.get;

      /** Codes of four tokens as floats. */
      const numbers = (shorts: Local, upper: boolean): Code =>
        f32x4.convert_i32x4_s(upper ? i32x4.extend_high_i16x8_s(get(shorts)) : i32x4.extend_low_i16x8_s(get(shorts)));
      const addPair = (pair: number, secondHalf: boolean): Code => [
        ...factors.flatMap((factor, index) => local.set(factor, v128.load32_splat(get(ofPair), 16 * index + 4 * pair))),
        ...local.set(firstBytes, codeBytes(bits, first, 4 * bits * pair, secondHalf)),
        ...local.set(secondBytes, codeBytes(bits, second, 4 * bits * pair, secondHalf)),
        ...sums.flatMap((sum, group) => {
          const extend = group < 2 ? i16x8.extend_low_i8x16_u : i16x8.extend_high_i8x16_u;
          const offset = TURN_BYTES * pair + 16 * (group + (secondHalf ? 4 : 0));
          const [constant, ofFirst, ofSecond, turnedConstant, turnedFirst, turnedSecond] = factors as [
            Local,
            Local,
            Local,
            Local,
            Local,
            Local,
          ];
          const product = (factor: Local, number: Local) => f32x4.mul(get(factor), get(number));
          return [
            ...(group % 2 === 0
              ? [
                  ...local.set(firstShorts, extend(get(firstBytes))),
                  ...local.set(secondShorts, extend(get(secondBytes))),
                ]
              : []),
            ...local.set(u, numbers(firstShorts, group % 2 === 1)),
            ...local.set(v, numbers(secondShorts, group % 2 === 1)),
            ...addProduct(
              sum,
              f32x4.add(f32x4.add(get(constant), product(ofFirst, u)), product(ofSecond, v)),
              v128.load(get(turn), offset),
            ),
            ...addProduct(
              sum,
              f32x4.sub(f32x4.add(get(turnedConstant), product(turnedFirst, u)), product(turnedSecond, v)),
              v128.load(get(turn), offset + TURN_BYTES / 2),
            ),
          ];
        }),
      ];
      // Sixteen tokens at a time, so that their sums stay in registers.
      return [false, true].flatMap((secondHalf) => [
        ...moving.flatMap((pointer, index) => local.set(pointer, get(pointers[index]!))),
        ...sums.flatMap((sum) => local.set(sum, bitsInLanes(0))),
        ...local.set(round, get(quads)),
        ...countdown(round, [
          ...[0, 1, 2, 3].flatMap((pair) => addPair(pair, secondHalf)),
          ...advance(ofPair, COEFFICIENT_BYTES),
          ...advance(turn, 4 * TURN_BYTES),
          ...advance(first, 16 * bits),
          ...advance(second, 16 * bits),
        ]),
        ...sums.flatMap((sum, group) => v128.store(get(scores), get(sum), 16 * (group + (secondHalf ? 4 : 0)))),
      ]);
    },
  );
}

/** Greatest whole number that a weight becomes. */
const MOST_WEIGHT = 2 ** 15 - 1;

/**
 * (weights, gains, whole numbers, factor, address of the unit): products of 32 weights and gains as whole numbers of 16 bits, and the
 * factor that makes products of levels and them numbers again. The unit is that of the levels, divided by the greatest whole number.
 */
export function weighFunction(): WasmFunction {
  return wasmFunction('weigh', [i32, i32, i32, i32, i32], ([weights, gains, wholes, factor, unit], declare) => {
    const products = Array.from({ length: 8 }, () => declare(v128));
    const [most, scale, greatest] = [declare(v128), declare(v128), declare(f32)];
    const get = local.get;
    const lane = (index: number) => f32x4.extract_lane(get(most), index);
    const whole = (product: Local) => i32x4.trunc_sat_f32x4_s(f32x4.nearest(f32x4.mul(get(product), get(scale))));
    return [
      ...local.set(most, bitsInLanes(bitsOfFloat(1e-30))),
      ...products.flatMap((product, index) => [
        ...local.set(
          product,
          f32x4.mul(
            v128.load(get(weights), 16 * index),
            halfToFloat(i32x4.shl(v128.load16x4_s(get(gains), 8 * index), 13)),
          ),
        ),
        ...local.set(most, f32x4.max(get(most), get(product))),
      ]),
      ...local.set(greatest, f32.max(f32.max(lane(0), lane(1)), f32.max(lane(2), lane(3)))),
      ...f32.store(get(factor), f32.mul(get(greatest), f32.load(get(unit)))),
      ...local.set(scale, f32x4.splat(f32.div(f32.load(get(unit), 4), get(greatest)))),
      ...[0, 1, 2, 3].flatMap((pair) =>
        v128.store(
          get(wholes),
          i16x8.narrow_i32x4_s(whole(products[2 * pair]!), whole(products[2 * pair + 1]!)),
          16 * pair,
        ),
      ),
    ];
  });
}

/** What `weigh` finds at the address of the unit. */
export function unitOfWeights(bits: BlockBits): readonly [unit: number, most: number] {
  return [valueLevels(bits).unit / MOST_WEIGHT, MOST_WEIGHT];
}

/**
 * (weights, codes, result, quads, where a factor stands): result += factor * sum of weight * level, for four channels at a time. Weights
 * are 32 whole numbers of 16 bits; with levels of 14 bits the sums of a lane fit in 32.
 */
export function addFunction(name: string, bits: BlockBits): WasmFunction {
  const levels = Array.from(valueLevels(bits).units);
  const table = (byte: (level: number) => number) => perLane((code) => byte(levels[code] ?? 0));
  return wasmFunction(name, [i32, i32, i32, i32, i32], ([weights, codes, result, quads, factor], declare) => {
    const weight = Array.from({ length: 4 }, () => declare(v128));
    const [lows, highs, bytes, low, high, scale] = Array.from({ length: 6 }, () => declare(v128)) as [
      Local,
      Local,
      Local,
      Local,
      Local,
      Local,
    ];
    const sums = Array.from({ length: 4 }, () => declare(v128));
    const get = local.get;
    const interleave = (from: number) => Array.from({ length: 16 }, (_, lane) => from + (lane >> 1) + 16 * (lane & 1));
    /** The products of 16 tokens, added up to four. */
    const products = (channel: number, secondHalf: boolean): { prepare: Code; sum: Code } => {
      const [first, second] = secondHalf ? [weight[2]!, weight[3]!] : [weight[0]!, weight[1]!];
      const shorts = (from: number) => i8x16.shuffle(get(low), get(high), interleave(from));
      return {
        prepare: [
          ...local.set(bytes, codeBytes(bits, codes, 4 * bits * channel, secondHalf)),
          ...local.set(low, i8x16.swizzle(get(lows), get(bytes))),
          ...local.set(high, i8x16.swizzle(get(highs), get(bytes))),
        ],
        sum: i32x4.add(i32x4.dot_i16x8_s(shorts(0), get(first)), i32x4.dot_i16x8_s(shorts(8), get(second))),
      };
    };
    const lanes = (...places: number[]) =>
      places.flatMap((place) => [4 * place, 4 * place + 1, 4 * place + 2, 4 * place + 3]);
    /** Adds the lanes of two vectors: those of the first stand in the even lanes, twice. */
    const fold = (first: Code, second: Code): Code =>
      f32x4.add(i8x16.shuffle(first, second, lanes(0, 4, 1, 5)), i8x16.shuffle(first, second, lanes(2, 6, 3, 7)));
    return [
      ...weight.flatMap((each, index) => local.set(each, v128.load(get(weights), 16 * index))),
      ...local.set(
        lows,
        table((level) => level & 255),
      ),
      ...local.set(
        highs,
        table((level) => (level >> 8) & 255),
      ),
      ...local.set(scale, v128.load32_splat(get(factor))),
      ...countdown(quads, [
        ...sums.flatMap((sum, channel) => {
          const [first, second] = [products(channel, false), products(channel, true)];
          return [
            ...first.prepare,
            ...local.set(sum, first.sum),
            ...second.prepare,
            ...local.set(sum, f32x4.convert_i32x4_s(i32x4.add(get(sum), second.sum))),
          ];
        }),
        ...local.set(low, fold(get(sums[0]!), get(sums[1]!))),
        ...local.set(high, fold(get(sums[2]!), get(sums[3]!))),
        ...v128.store(
          get(result),
          f32x4.add(
            v128.load(get(result)),
            f32x4.mul(
              get(scale),
              f32x4.add(
                i8x16.shuffle(get(low), get(high), lanes(0, 1, 4, 5)),
                i8x16.shuffle(get(low), get(high), lanes(2, 3, 6, 7)),
              ),
            ),
          ),
        ),
        ...advance(codes, 16 * bits),
        ...advance(result, 16),
      ]),
    ];
  });
}
