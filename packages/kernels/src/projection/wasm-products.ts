import {
  type Code,
  f32,
  f32x4,
  i16x8,
  i32,
  i32x4,
  type Local,
  local,
  v128,
  type WasmFunction,
  wasmFunction,
} from '@kvlr/core/wasm';
import { addProduct, advance, bitsInLanes, countdown, halfToFloat, sumOfLanes } from '../wasm-heap.ts';
import { groupSize, type WeightFormat } from '../weights/pack-weights.ts';

/** How a WASM function reads one step of columns of a packed row. */
interface UnpackCode {
  /** Columns of a step. */
  columns: number;
  /** Bytes by which the pointers to words and scales move per step. */
  wordBytes: number;
  scaleBytes: number;
  /** Done once per step and row, into vector locals of this number that `numbers` then reads. */
  temporaries: number;
  prepare(words: Local, temporaries: Local[]): Code;
  /** One expression per four columns: the numbers without scale and offset. */
  numbers(words: Local, temporaries: Local[]): Code[];
  /** Vectors of the scale and of the offset at a scale pointer, where the format has them. */
  scale?(scales: Local): Code;
  offset?(scales: Local): Code;
}

const nothing = (): Code => [];

const fromWords = (value: Code): Code[] => [
  f32x4.convert_i32x4_s(i32x4.extend_low_i16x8_s(value)),
  f32x4.convert_i32x4_s(i32x4.extend_high_i16x8_s(value)),
];

export const unpackCode: Record<WeightFormat, UnpackCode> = {
  f32: {
    columns: 16,
    wordBytes: 64,
    scaleBytes: 0,
    temporaries: 0,
    prepare: nothing,
    numbers: (words) => [0, 16, 32, 48].map((offset) => v128.load(local.get(words), offset)),
  },
  f16: {
    columns: 16,
    wordBytes: 32,
    scaleBytes: 0,
    temporaries: 0,
    prepare: nothing,
    numbers: (words) =>
      [0, 8, 16, 24].map((offset) => halfToFloat(i32x4.shl(v128.load16x4_s(local.get(words), offset), 13))),
  },
  int8: {
    columns: 32,
    wordBytes: 32,
    scaleBytes: 2,
    temporaries: 4,
    prepare: (words, temporaries) =>
      temporaries.flatMap((each, index) => local.set(each, v128.load8x8_s(local.get(words), 8 * index))),
    numbers: (_, temporaries) => temporaries.flatMap((each) => fromWords(local.get(each))),
    scale: (scales) => i32x4.shl(v128.load16_splat(local.get(scales)), 16),
  },
  int4: {
    columns: 32,
    wordBytes: 16,
    scaleBytes: 4,
    temporaries: 4,
    prepare: (words, temporaries) => {
      const [low, lowEnd, high, highEnd] = temporaries as [Local, Local, Local, Local];
      const nibbles = bitsInLanes(0x0f0f0f0f);
      return [
        ...local.set(high, v128.load(local.get(words))),
        ...local.set(low, v128.and(local.get(high), nibbles)),
        ...local.set(high, v128.and(i16x8.shr_u(local.get(high), 4), nibbles)),
        ...local.set(lowEnd, i16x8.extend_high_i8x16_u(local.get(low))),
        ...local.set(low, i16x8.extend_low_i8x16_u(local.get(low))),
        ...local.set(highEnd, i16x8.extend_high_i8x16_u(local.get(high))),
        ...local.set(high, i16x8.extend_low_i8x16_u(local.get(high))),
      ];
    },
    numbers: (_, temporaries) => temporaries.flatMap((each) => fromWords(local.get(each))),
    scale: (scales) => i32x4.shl(v128.load32_splat(local.get(scales)), 16),
    offset: (scales) => v128.and(v128.load32_splat(local.get(scales)), bitsInLanes(0xffff0000)),
  },
};

/** (words, scales, result, steps): unpacks steps of columns, of a row or of rows without gaps, to float32. */
export function unpackFunction(name: string, format: WeightFormat): WasmFunction {
  const unpack = unpackCode[format];
  return wasmFunction(name, [i32, i32, i32, i32], ([words, scales, result, steps], declare) => {
    const temporaries = Array.from({ length: unpack.temporaries }, () => declare(v128));
    const [scale, offset] = [declare(v128), declare(v128)];
    const scaledValue = (number: Code): Code => {
      const scaled = unpack.scale ? f32x4.mul(number, local.get(scale)) : number;
      return unpack.offset ? f32x4.add(scaled, local.get(offset)) : scaled;
    };
    return countdown(steps, [
      ...(unpack.scale ? local.set(scale, unpack.scale(scales)) : []),
      ...(unpack.offset ? local.set(offset, unpack.offset(scales)) : []),
      ...unpack.prepare(words, temporaries),
      ...unpack
        .numbers(words, temporaries)
        .flatMap((number, index) => v128.store(local.get(result), scaledValue(number), 16 * index)),
      ...advance(words, unpack.wordBytes),
      ...advance(scales, unpack.scaleBytes),
      ...advance(result, unpack.columns * 4),
    ]);
  });
}

/** Sums that are added to alternately, so that an addition need not wait for the one before. */
const independentSums = 4;

/**
 * (words, x, result, blocks, steps, bytes of a row, of a token, of a token's result): `blocks` blocks of `rows` rows of an f32 or
 * f16 matrix times `tokens` staged rows. Each vector of x is loaded once per block, each vector of weights once for all tokens.
 */
export function productFunction(name: string, format: 'f32' | 'f16', rows: number, tokens: number): WasmFunction {
  const unpack = unpackCode[format];
  return wasmFunction(
    name,
    [i32, i32, i32, i32, i32, i32, i32, i32],
    ([words, x, result, blocks, steps, rowBytes, tokenBytes, resultBytes], declare) => {
      const several = (count: number, type: typeof i32 | typeof v128) =>
        Array.from({ length: count }, () => declare(type));
      const [round, weight] = [declare(i32), declare(v128)];
      const wordPointers = several(rows, i32);
      const xPointers = several(tokens, i32);
      const inputs = several(tokens, v128);
      const sumsOfResult = Math.max(1, independentSums / (rows * tokens));
      const sums = wordPointers.map(() => xPointers.map(() => several(sumsOfResult, v128)));

      const multiplyVector = (index: number): Code => [
        ...inputs.flatMap((input, token) => local.set(input, v128.load(local.get(xPointers[token]!), 16 * index))),
        ...wordPointers.flatMap((pointer, row) => [
          ...local.set(weight, unpack.numbers(pointer, [])[index]!),
          ...inputs.flatMap((input, token) =>
            addProduct(sums[row]![token]![index % sumsOfResult]!, local.get(input), local.get(weight)),
          ),
        ]),
      ];
      return countdown(blocks, [
        ...follow(wordPointers, words, rowBytes),
        ...follow(xPointers, x, tokenBytes),
        ...sums.flat(2).flatMap((sum) => local.set(sum, bitsInLanes(0))),
        // The next block begins where the last row of this one ends.
        ...local.set(words, i32.add(local.get(wordPointers[rows - 1]!), local.get(rowBytes))),
        ...local.set(round, local.get(steps)),
        ...countdown(round, [
          ...Array.from({ length: unpack.columns / 4 }, (_, index) => multiplyVector(index)).flat(),
          ...wordPointers.flatMap((pointer) => advance(pointer, unpack.wordBytes)),
          ...xPointers.flatMap((pointer) => advance(pointer, unpack.columns * 4)),
        ]),
        ...follow(xPointers, result, resultBytes),
        ...sums.flatMap((ofRow, row) =>
          ofRow.flatMap(([first, ...others], token) => [
            ...others.flatMap((other) => local.set(first!, f32x4.add(local.get(first!), local.get(other)))),
            ...f32.store(local.get(xPointers[token]!), sumOfLanes(first!), 4 * row),
          ]),
        ),
        ...advance(result, 4 * rows),
      ]);
    },
  );
}

/** 16-bit numbers in a vector, and vectors in a group. */
const vectorsOfGroup = groupSize / 8;

/**
 * (words, scales, x, scales of x, result, blocks, steps, bytes of a row, of its scales): `blocks` blocks of `rows` rows of an int8
 * or int4 matrix times one token of 16-bit whole numbers, as `quantiseActivations` writes it. A group of 32 products is summed in
 * whole numbers, which is exact, by instructions that multiply eight pairs at a time, and scaled once:
 * sum (scale q + offset) x = scale sum q x + offset sum x.
 */
export function integerProductFunction(name: string, format: 'int8' | 'int4', rows: number): WasmFunction {
  const unpack = unpackCode[format];
  return wasmFunction(
    name,
    [i32, i32, i32, i32, i32, i32, i32, i32, i32],
    ([words, scales, x, xScales, result, blocks, steps, rowBytes, rowScaleBytes], declare) => {
      const several = (count: number, type: typeof i32 | typeof v128) =>
        Array.from({ length: count }, () => declare(type));
      const [round, xPointer, xScalePointer] = [declare(i32), declare(i32), declare(i32)];
      const wordPointers = several(rows, i32);
      const scalePointers = several(rows, i32);
      const inputs = several(vectorsOfGroup, v128);
      const sums = several(rows, v128);
      const temporaries = several(unpack.temporaries, v128);

      const multiplyGroup = (row: number): Code => {
        const dots = temporaries.map((each, index) => i32x4.dot_i16x8_s(local.get(each), local.get(inputs[index]!)));
        const ofScale = f32x4.mul(
          f32x4.convert_i32x4_s(dots.reduce((left, right) => i32x4.add(left, right))),
          f32x4.mul(unpack.scale!(scalePointers[row]!), v128.load32_splat(local.get(xScalePointer))),
        );
        const ofOffset =
          unpack.offset &&
          f32x4.mul(unpack.offset(scalePointers[row]!), v128.load32_splat(local.get(xScalePointer), 4));
        const sum = sums[row]!;
        return local.set(sum, f32x4.add(local.get(sum), ofOffset ? f32x4.add(ofScale, ofOffset) : ofScale));
      };
      return countdown(blocks, [
        ...follow(wordPointers, words, rowBytes),
        ...follow(scalePointers, scales, rowScaleBytes),
        ...local.set(xPointer, local.get(x)),
        ...local.set(xScalePointer, local.get(xScales)),
        ...sums.flatMap((sum) => local.set(sum, bitsInLanes(0))),
        ...local.set(words, i32.add(local.get(wordPointers[rows - 1]!), local.get(rowBytes))),
        ...local.set(scales, i32.add(local.get(scalePointers[rows - 1]!), local.get(rowScaleBytes))),
        ...local.set(round, local.get(steps)),
        ...countdown(round, [
          ...inputs.flatMap((input, index) => local.set(input, v128.load(local.get(xPointer), 16 * index))),
          ...wordPointers.flatMap((pointer, row) => [
            ...unpack.prepare(pointer, temporaries),
            ...multiplyGroup(row),
            ...advance(pointer, unpack.wordBytes),
            ...advance(scalePointers[row]!, unpack.scaleBytes),
          ]),
          ...advance(xPointer, groupSize * 2),
          ...advance(xScalePointer, 8),
        ]),
        ...sums.flatMap((sum, row) => f32.store(local.get(result), sumOfLanes(sum), 4 * row)),
        ...advance(result, 4 * rows),
      ]);
    },
  );
}

/** Sets pointers to a start and to places each a distance behind the one before. */
function follow(pointers: Local[], start: Local, distance: Local): Code {
  return pointers.flatMap((pointer, index) =>
    local.set(pointer, index > 0 ? i32.add(local.get(pointers[index - 1]!), local.get(distance)) : local.get(start)),
  );
}
