import type { WasmFunction } from '../../wasm/assemble-module.ts';
import {
  add,
  addFloats,
  advance,
  type Code,
  constant,
  countdown,
  get,
  i32,
  integer,
  load,
  multiplyFloats,
  set,
  storeFloat,
  sumOfLanes,
  v128,
} from '../../wasm/instructions.ts';
import { unpackCode } from './unpack-code.ts';

/** Parameters: addresses, counts and distances in bytes. */
const [words, x, result, blocks, steps, rowBytes, tokenBytes, resultBytes] = [0, 1, 2, 3, 4, 5, 6, 7];
const parameters = 8;

/** Sums that are added to in turn, so that an addition need not wait for the one before. */
const sumsInTurn = 4;

/**
 * `blocks` blocks of `rows` rows of an f32 or f16 matrix times `tokens` staged rows: each vector of x is loaded once per
 * block, each vector of weights once for all tokens.
 */
export function productFunction(name: string, format: 'f32' | 'f16', rows: number, tokens: number): WasmFunction {
  const unpack = unpackCode[format];
  const locals: number[] = [];
  const several = (count: number, type: number) =>
    Array.from({ length: count }, () => parameters + locals.push(type) - 1);
  const [round, weight] = [...several(1, i32), ...several(1, v128)] as [number, number];
  const wordPointers = several(rows, i32);
  const xPointers = several(tokens, i32);
  const inputs = several(tokens, v128);
  const turns = Math.max(1, sumsInTurn / (rows * tokens));
  const sums = Array.from({ length: rows }, () => Array.from({ length: tokens }, () => several(turns, v128)));

  const multiplyVector = (index: number): Code => [
    ...inputs.flatMap((input, token) => set(input, load(get(xPointers[token]!), 16 * index))),
    ...wordPointers.flatMap((pointer, row) => [
      ...set(weight, unpack.numbers(pointer, [])[index]!),
      ...inputs.flatMap((input, token) => {
        const sum = sums[row]![token]![index % turns]!;
        return set(sum, addFloats(get(sum), multiplyFloats(get(input), get(weight))));
      }),
    ]),
  ];
  const step: Code = [
    ...Array.from({ length: unpack.columns / 4 }, (_, index) => multiplyVector(index)).flat(),
    ...wordPointers.flatMap((pointer) => advance(pointer, integer(unpack.wordBytes))),
    ...xPointers.flatMap((pointer) => advance(pointer, integer(unpack.columns * 4))),
  ];
  const block: Code = [
    ...follow(wordPointers, words, rowBytes),
    ...follow(xPointers, x, tokenBytes),
    ...sums.flat(2).flatMap((sum) => set(sum, constant(0))),
    // The next block begins where the last row of this one ends.
    ...set(words, add(get(wordPointers[rows - 1]!), get(rowBytes))),
    ...set(round, get(steps)),
    ...countdown(round, step),
    ...follow(xPointers, result, resultBytes),
    ...sums.flatMap((ofRow, row) =>
      ofRow.flatMap(([first, ...others], token) => [
        ...others.flatMap((other) => set(first!, addFloats(get(first!), get(other)))),
        ...storeFloat(get(xPointers[token]!), 4 * row, sumOfLanes(first!)),
      ]),
    ),
    ...advance(result, integer(4 * rows)),
  ];
  return { name, parameters, locals, body: countdown(blocks, block) };
}

/** Sets pointers to a start and to places each a distance behind the one before. */
export function follow(pointers: number[], start: number, distance: number): Code {
  return pointers.flatMap((pointer, index) =>
    set(pointer, index ? add(get(pointers[index - 1]!), get(distance)) : get(start)),
  );
}
