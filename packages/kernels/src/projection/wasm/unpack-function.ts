import type { WasmFunction } from '../../wasm/assemble-module.ts';
import { advance, countdown, get, integer, set, store, v128 } from '../../wasm/instructions.ts';
import type { WeightFormat } from '../../weights/weight-format.ts';
import { scaledNumber, unpackCode } from './unpack-code.ts';

/** Parameters. */
const [words, scales, result, steps] = [0, 1, 2, 3];
const parameters = 4;

/** Unpacks `steps` steps of columns, of a row or of rows without gaps, to float32. */
export function unpackFunction(name: string, format: WeightFormat): WasmFunction {
  const unpack = unpackCode[format];
  const temporaries = Array.from({ length: unpack.temporaries }, (_, index) => parameters + index);
  const scale = parameters + unpack.temporaries;
  const offset = scale + 1;
  const step = [
    ...(unpack.scale ? set(scale, unpack.scale(scales)) : []),
    ...(unpack.offset ? set(offset, unpack.offset(scales)) : []),
    ...unpack.prepare(words, temporaries),
    ...unpack
      .numbers(words, temporaries)
      .flatMap((number, index) => store(get(result), 16 * index, scaledNumber(unpack, number, scale, offset))),
    ...advance(words, integer(unpack.wordBytes)),
    ...advance(scales, integer(unpack.scaleBytes)),
    ...advance(result, integer(unpack.columns * 4)),
  ];
  return { name, parameters, locals: Array(unpack.temporaries + 2).fill(v128), body: countdown(steps, step) };
}
