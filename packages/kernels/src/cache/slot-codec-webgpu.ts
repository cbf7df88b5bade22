import { type EntryDtype, slotWords } from '@kvlr/core';
import { slotDtypes } from './dtypes/slot-dtypes.ts';

/**
 * WGSL that reads a slot of `cache: array<u32>`: `slotHeader(at)` gives scale and offset of the slot that begins at word `at`,
 * and `numberOf(word, k, header)` the k-th number of one of its words.
 */
export function slotReader(dtype: EntryDtype): string {
  return [slotHeader(dtype), numberReader(dtype)].join('\n');
}

/** WGSL: `slotHeader(at)`. Slots that are read four words at once have none. */
export function slotHeader(dtype: EntryDtype): string {
  const { headerWords } = slotWords(dtype);
  const header = headerWords === 1 ? 'return unpack2x16float(cache[at]);' : 'return vec2<f32>(1.0, 0.0);';
  return `
  fn slotHeader(at: i32) -> vec2<f32> { ${header} }`;
}

/** WGSL: `numberOf(word, k, header)`. */
export function numberReader(dtype: EntryDtype): string {
  const bits = 32 / slotWords(dtype).numbersPerWord;
  return `
  fn numberOf(word: u32, k: i32, header: vec2<f32>) -> f32 {
    let code = (word >> u32(${bits} * k)) & ${2 ** bits - 1}u;
    return ${slotDtypes[dtype].wgsl.read};
  }`;
}

/** WGSL expression: the k-th numbers of `words: vec4<u32>`, of four entries; of codes of b bits with a header 1 + code / 2^b instead. */
export function fourNumbers(dtype: EntryDtype, k: number): string {
  return slotDtypes[dtype].wgsl.four(k);
}

/**
 * WGSL with `writeSlot(at, width, lane)`: all `lanes` lanes of a workgroup together write slot[0 .. width - 1] to the words of
 * `cache` from `at` on, four of them at a time where `cache` is made of vec4. Before it a barrier.
 */
export function slotWriter(dtype: EntryDtype, atOnce: 1 | 4 = 1): string {
  const { numbersPerWord, headerWords } = slotWords(dtype);
  const bits = 32 / numbersPerWord;
  return `
  ${headerWords === 1 ? headerWriter(2 ** bits - 1) : 'fn writeHeader(at: i32, width: i32, lane: i32) -> vec2<f32> { return vec2<f32>(); }'}

  fn codeOf(value: f32, header: vec2<f32>) -> u32 { return ${slotDtypes[dtype].wgsl.write}; }

  fn packedWord(word: i32, width: i32, header: vec2<f32>) -> u32 {
    var packed = 0u;
    for (var k = 0; k < ${numbersPerWord}; k++) {
      let c = word * ${numbersPerWord} + k;
      if (c < width) { packed |= codeOf(slot[c], header) << u32(k * ${bits}); }
    }
    return packed;
  }

  fn writeSlot(at: i32, width: i32, lane: i32) {
    let header = writeHeader(at, width, lane);
    for (var word = ${atOnce} * lane; word * ${numbersPerWord} < width; word += ${atOnce} * lanes) {
      ${
        atOnce === 1
          ? `cache[at + ${headerWords} + word] = packedWord(word, width, header);`
          : `cache[(at + word) / 4] = vec4<u32>(${[0, 1, 2, 3].map((n) => `packedWord(word + ${n}, width, header)`).join(', ')});`
      }
    }
  }`;
}

/** Codes belong to the rounded scale and offset, the ones that decoding sees. */
const headerWriter = (most: number) => `
  var<workgroup> slotLows: array<f32, lanes>;
  var<workgroup> slotHighs: array<f32, lanes>;

  /** Writes scale and offset of slot; returns the inverse of the scale, and the offset. */
  fn writeHeader(at: i32, width: i32, lane: i32) -> vec2<f32> {
    var low = slot[0];
    var high = slot[0];
    for (var c = lane; c < width; c += lanes) {
      low = min(low, slot[c]);
      high = max(high, slot[c]);
    }
    slotLows[lane] = low;
    slotHighs[lane] = high;
    workgroupBarrier();
    for (var step = lanes / 2; step > 0; step /= 2) {
      if (lane < step) {
        slotLows[lane] = min(slotLows[lane], slotLows[lane + step]);
        slotHighs[lane] = max(slotHighs[lane], slotHighs[lane + step]);
      }
      workgroupBarrier();
    }
    low = slotLows[0];
    high = slotHighs[0];
    let range = vec2<f32>((high - low) / ${most}.0, low);
    let packedHeader = pack2x16float(clamp(range, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
    let header = unpack2x16float(packedHeader);
    if (lane == 0) { cache[at] = packedHeader; }
    return vec2<f32>(select(0.0, 1.0 / header.x, header.x > 0.0), header.y);
  }`;
