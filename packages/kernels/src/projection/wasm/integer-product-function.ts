import type { WasmFunction } from '../../wasm/assemble-module.ts';
import {
  add,
  addFloats,
  addIntegers,
  advance,
  type Code,
  constant,
  countdown,
  dotWords,
  get,
  i32,
  integer,
  load,
  loadIntegerSplat,
  multiplyFloats,
  set,
  storeFloat,
  sumOfLanes,
  toFloats,
  v128,
} from '../../wasm/instructions.ts';
import { groupSize } from '../../weights/weight-format.ts';
import { follow } from './product-function.ts';
import { unpackCode } from './unpack-code.ts';

/** Parameters: addresses, counts and distances in bytes; x and its scales come from quantise-activations.ts. */
const [words, scales, x, xScales, result, blocks, steps, rowBytes, rowScaleBytes] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const parameters = 9;

/** 16-bit numbers in a vector, and vectors in a group. */
const vectors = groupSize / 8;

/**
 * `blocks` blocks of `rows` rows of an int8 or int4 matrix times one token of 16-bit whole numbers. A group of 32 products is
 * summed in whole numbers, which is exact, by instructions that multiply eight pairs at a time, and scaled once:
 * sum (scale q + offset) x = scale sum q x + offset sum x.
 */
export function integerProductFunction(name: string, format: 'int8' | 'int4', rows: number): WasmFunction {
  const unpack = unpackCode[format];
  const locals: number[] = [];
  const several = (count: number, type: number) =>
    Array.from({ length: count }, () => parameters + locals.push(type) - 1);
  const [round, xPointer, xScalePointer] = several(3, i32) as [number, number, number];
  const wordPointers = several(rows, i32);
  const scalePointers = several(rows, i32);
  const inputs = several(vectors, v128);
  const sums = several(rows, v128);
  const temporaries = several(unpack.temporaries, v128);

  const multiplyGroup = (row: number): Code => {
    const dots = temporaries.map((local, index) => dotWords(get(local), get(inputs[index]!)));
    const ofScale = multiplyFloats(
      toFloats(dots.reduce(addIntegers)),
      multiplyFloats(unpack.scale!(scalePointers[row]!), loadIntegerSplat(get(xScalePointer), 0)),
    );
    const ofOffset =
      unpack.offset && multiplyFloats(unpack.offset(scalePointers[row]!), loadIntegerSplat(get(xScalePointer), 4));
    const sum = sums[row]!;
    return set(sum, addFloats(get(sum), ofOffset ? addFloats(ofScale, ofOffset) : ofScale));
  };
  const step: Code = [
    ...inputs.flatMap((input, index) => set(input, load(get(xPointer), 16 * index))),
    ...wordPointers.flatMap((pointer, row) => [
      ...unpack.prepare(pointer, temporaries),
      ...multiplyGroup(row),
      ...advance(pointer, integer(unpack.wordBytes)),
      ...advance(scalePointers[row]!, integer(unpack.scaleBytes)),
    ]),
    ...advance(xPointer, integer(groupSize * 2)),
    ...advance(xScalePointer, integer(8)),
  ];
  const block: Code = [
    ...follow(wordPointers, words, rowBytes),
    ...follow(scalePointers, scales, rowScaleBytes),
    ...set(xPointer, get(x)),
    ...set(xScalePointer, get(xScales)),
    ...sums.flatMap((sum) => set(sum, constant(0))),
    ...set(words, add(get(wordPointers[rows - 1]!), get(rowBytes))),
    ...set(scales, add(get(scalePointers[rows - 1]!), get(rowScaleBytes))),
    ...set(round, get(steps)),
    ...countdown(round, step),
    ...sums.flatMap((sum, row) => storeFloat(get(result), 4 * row, sumOfLanes(sum))),
    ...advance(result, integer(4 * rows)),
  ];
  return { name, parameters, locals, body: countdown(blocks, block) };
}
