import { halfToFloat } from '../../wasm/half-to-float.ts';
import {
  addFloats,
  and,
  type Code,
  constant,
  get,
  highBytesAsWords,
  highWordsAsIntegers,
  load,
  loadBytesAsWords,
  loadIntegerSplat,
  loadWordSplat,
  loadWordsAsIntegers,
  lowBytesAsWords,
  lowWordsAsIntegers,
  multiplyFloats,
  set,
  shiftIntegersLeft,
  shiftWordsRight,
  toFloats,
} from '../../wasm/instructions.ts';
import type { WeightFormat } from '../../weights/weight-format.ts';

/** How a WASM function reads one step of columns of a packed row. */
export interface UnpackCode {
  /** Columns of a step. */
  columns: number;
  /** Bytes by which the pointers to words and scales move per step. */
  wordBytes: number;
  scaleBytes: number;
  /** Done once per step and row, into vector locals of this number that `numbers` then reads. */
  temporaries: number;
  prepare(words: number, temporaries: number[]): Code;
  /** One expression per four columns: the numbers without scale and offset. */
  numbers(words: number, temporaries: number[]): Code[];
  /** Vectors of the scale and of the offset at a scale pointer, where the format has them. */
  scale?(scales: number): Code;
  offset?(scales: number): Code;
}

const nothing = (): Code => [];
const upperHalf = 0xffff0000;

const fromWords = (value: Code): Code[] => [toFloats(lowWordsAsIntegers(value)), toFloats(highWordsAsIntegers(value))];

export const unpackCode: Record<WeightFormat, UnpackCode> = {
  f32: {
    columns: 16,
    wordBytes: 64,
    scaleBytes: 0,
    temporaries: 0,
    prepare: nothing,
    numbers: (words) => [0, 16, 32, 48].map((offset) => load(get(words), offset)),
  },
  f16: {
    columns: 16,
    wordBytes: 32,
    scaleBytes: 0,
    temporaries: 0,
    prepare: nothing,
    numbers: (words) =>
      [0, 8, 16, 24].map((offset) => halfToFloat(shiftIntegersLeft(loadWordsAsIntegers(get(words), offset), 13))),
  },
  int8: {
    columns: 32,
    wordBytes: 32,
    scaleBytes: 2,
    temporaries: 4,
    prepare: (words, temporaries) =>
      temporaries.flatMap((local, index) => set(local, loadBytesAsWords(get(words), 8 * index))),
    numbers: (_, temporaries) => temporaries.flatMap((local) => fromWords(get(local))),
    scale: (scales) => shiftIntegersLeft(loadWordSplat(get(scales), 0), 16),
  },
  int4: {
    columns: 32,
    wordBytes: 16,
    scaleBytes: 4,
    temporaries: 4,
    prepare: (words, [low, lowEnd, high, highEnd]) => [
      ...set(high!, load(get(words), 0)),
      ...set(low!, and(get(high!), constant(0x0f0f0f0f))),
      ...set(high!, and(shiftWordsRight(get(high!), 4), constant(0x0f0f0f0f))),
      ...set(lowEnd!, highBytesAsWords(get(low!))),
      ...set(low!, lowBytesAsWords(get(low!))),
      ...set(highEnd!, highBytesAsWords(get(high!))),
      ...set(high!, lowBytesAsWords(get(high!))),
    ],
    numbers: (_, temporaries) => temporaries.flatMap((local) => fromWords(get(local))),
    scale: (scales) => shiftIntegersLeft(loadIntegerSplat(get(scales), 0), 16),
    offset: (scales) => and(loadIntegerSplat(get(scales), 0), constant(upperHalf)),
  },
};

/** The value of a number with its scale and offset. */
export function scaledNumber(code: UnpackCode, number: Code, scale: number, offset: number): Code {
  if (code.scale === undefined) return number;
  const scaled = multiplyFloats(number, get(scale));
  return code.offset === undefined ? scaled : addFloats(scaled, get(offset));
}
