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
  load,
  multiplyFloats,
  set,
  storeFloat,
  sumOfLanes,
  v128,
} from '../../wasm/instructions.ts';
import type { WeightFormat } from '../../weights/weight-format.ts';
import { unpackCode } from './unpack-code.ts';

/** Parameters of a product function; all of them addresses, bytes or counts. */
const [words, scales, x, result, blocks, steps, rowBytes, rowScaleBytes, tokenBytes, resultBytes] = Array.from(
  { length: 10 },
  (_, index) => index,
) as [number, number, number, number, number, number, number, number, number, number];
const parameters = 10;

/**
 * `blocks` blocks of `rows` rows of a packed matrix times `tokens` staged rows: each vector of x is loaded once per block,
 * each vector of weights unpacked once for all tokens. Scales and offsets apply to the sums of a group:
 * sum (scale q + offset) x = scale sum q x + offset sum x.
 */
export function productFunction(name: string, format: WeightFormat, rows: number, tokens: number): WasmFunction {
  const unpack = unpackCode[format];
  const locals: number[] = [];
  const local = (type: number) => parameters + locals.push(type) - 1;
  const several = (count: number, type: number) => Array.from({ length: count }, () => local(type));
  const round = local(i32);
  const wordPointers = several(rows, i32);
  const scalePointers = unpack.scale ? several(rows, i32) : [];
  const xPointers = several(tokens, i32);
  const vectors = unpack.columns / 4;
  const inputs = Array.from({ length: tokens }, () => several(vectors, v128));
  const inputSums = unpack.offset ? several(tokens, v128) : [];
  const sums = Array.from({ length: rows }, () => several(tokens, v128));
  const partial = several(unpack.scale ? tokens : 0, v128);
  const temporaries = several(unpack.temporaries, v128);
  const weight = tokens > 1 ? local(v128) : 0;

  const step = (): Code => [
    ...inputs.flatMap((ofToken, token) =>
      ofToken.flatMap((input, index) => set(input, load(get(xPointers[token]!), 16 * index))),
    ),
    ...inputSums.flatMap((sum, token) => set(sum, inputs[token]!.map(get).reduce(addFloats))),
    ...wordPointers.flatMap((pointer, row) => [
      ...unpack.prepare(pointer, temporaries),
      ...unpack.numbers(pointer, temporaries).flatMap((number, index) => accumulate(number, row, index)),
      ...(unpack.scale ? partial.flatMap((sum, token) => applyScale(row, token, sum)) : []),
      ...advance(pointer, [0x41, unpack.wordBytes]),
      ...(unpack.scale ? advance(scalePointers[row]!, [0x41, unpack.scaleBytes]) : []),
    ]),
    ...xPointers.flatMap((pointer) => advance(pointer, [0x41, ...signed(unpack.columns * 4)])),
  ];
  const accumulate = (number: Code, row: number, index: number): Code => {
    // With several tokens the weight is unpacked once, into a local.
    const value = tokens > 1 ? get(weight) : number;
    const into = unpack.scale ? partial : sums[row]!;
    return [
      ...(tokens > 1 ? set(weight, number) : []),
      ...into.flatMap((sum, token) => {
        const product = multiplyFloats(get(inputs[token]![index]!), value);
        return set(sum, unpack.scale && index === 0 ? product : addFloats(get(sum), product));
      }),
    ];
  };
  const applyScale = (row: number, token: number, sum: number): Code => {
    const pointer = scalePointers[row]!;
    const total = sums[row]![token]!;
    const scaled = multiplyFloats(get(sum), unpack.scale!(pointer));
    const shifted = unpack.offset
      ? addFloats(scaled, multiplyFloats(get(inputSums[token]!), unpack.offset(pointer)))
      : scaled;
    return set(total, addFloats(get(total), shifted));
  };

  const block: Code = [
    ...wordPointers.flatMap((pointer, row) =>
      set(pointer, row ? add(get(wordPointers[row - 1]!), get(rowBytes)) : get(words)),
    ),
    ...scalePointers.flatMap((pointer, row) =>
      set(pointer, row ? add(get(scalePointers[row - 1]!), get(rowScaleBytes)) : get(scales)),
    ),
    ...xPointers.flatMap((pointer, token) =>
      set(pointer, token ? add(get(xPointers[token - 1]!), get(tokenBytes)) : get(x)),
    ),
    ...sums.flat().flatMap((sum) => set(sum, constant(0))),
    // The next block begins where the last row of this one ends.
    ...set(words, add(get(wordPointers[rows - 1]!), get(rowBytes))),
    ...(unpack.scale ? set(scales, add(get(scalePointers[rows - 1]!), get(rowScaleBytes))) : []),
    ...set(round, get(steps)),
    ...countdown(round, step()),
    ...xPointers.flatMap((address, token) => [
      ...set(address, token ? add(get(xPointers[token - 1]!), get(resultBytes)) : get(result)),
      ...sums.flatMap((ofRow, row) => storeFloat(get(address), 4 * row, sumOfLanes(ofRow[token]!))),
    ]),
    ...advance(result, [0x41, 4 * rows]),
  ];
  return { name, parameters, locals, body: countdown(blocks, block) };
}

/** Signed LEB128 of a positive number below 2^13. */
function signed(value: number): Code {
  return [(value & 0x7f) | 0x80, value >> 7];
}
