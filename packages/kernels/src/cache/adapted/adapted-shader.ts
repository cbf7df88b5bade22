import { type AdaptedFormat, levelTables, tableParts } from './adapted-format.ts';

/** What shaders over blocks in fitted bases know as constants. Where codes lie is in the tables: one pipeline serves all layers. */
export function adaptedConstants(format: AdaptedFormat) {
  const { slots, width, blockWords } = format;
  const { mean, backward, forward, sideWords } = tableParts(width);
  const { levels, thresholds } = levelTables(format);
  return {
    ...{ slots, slotWidth: width, blockWords, sideWords },
    ...{ meanAt: mean, backwardAt: backward, forwardAt: forward, levelsAt: levels, thresholdsAt: thresholds },
  };
}

/** WGSL over `tables: array<u32>`: `tableAt(i)` as a number, `bitsOf(entry)` and `wordOf(entry)` of a channel's entry. */
export const tableReader = `
  fn tableAt(i: i32) -> f32 { return bitcast<f32>(tables[i]); }
  fn bitsOf(entry: u32) -> i32 { return i32(entry & 15u); }
  fn wordOf(entry: u32) -> i32 { return i32(entry >> 4u); }`;

/**
 * WGSL over `blocks: array<u32>` behind `tableReader`: `codeAt(at, bits, n)`, code n of the channel whose codes begin at word `at`, in the
 * planes of `codePlanes`, and `levelAt(at, bits, n)`, what it stands for in units of the channel's deviation.
 */
export const adaptedReader = `
  fn codeAt(at: i32, bits: i32, n: i32) -> u32 {
    var code = 0u;
    var shift = 0;
    while (bits - shift >= 4) {
      code |= ((blocks[at + shift + (n % 16) / 4] >> u32(8 * (n % 4) + 4 * (n / 16))) & 15u) << u32(shift);
      shift += 4;
    }
    if (bits - shift >= 2) {
      code |= ((blocks[at + shift + (n % 8) / 4] >> u32(8 * (n % 4) + 2 * (n / 8))) & 3u) << u32(shift);
      shift += 2;
    }
    if (bits - shift == 1) { code |= ((blocks[at + shift] >> u32(8 * (n % 4) + n / 4)) & 1u) << u32(shift); }
    return code;
  }

  fn levelAt(at: i32, bits: i32, n: i32) -> f32 { return tableAt(levelsAt + (1 << u32(bits)) - 2 + i32(codeAt(at, bits, n))); }`;

/** WGSL: `placeCode(words, code, bits, n)` puts code n into the words of a channel, which are zero there. */
export const adaptedWriter = `
  fn placeCode(words: ptr<function, array<u32, 8>>, code: u32, bits: i32, n: i32) {
    var shift = 0;
    while (bits - shift >= 4) {
      (*words)[shift + (n % 16) / 4] |= ((code >> u32(shift)) & 15u) << u32(8 * (n % 4) + 4 * (n / 16));
      shift += 4;
    }
    if (bits - shift >= 2) {
      (*words)[shift + (n % 8) / 4] |= ((code >> u32(shift)) & 3u) << u32(8 * (n % 4) + 2 * (n / 8));
      shift += 2;
    }
    if (bits - shift == 1) { (*words)[shift] |= ((code >> u32(shift)) & 1u) << u32(8 * (n % 4) + n / 4); }
  }`;
