import type { CacheDtype } from '@kvlr/core';

/** Numbers in one word, header words not counted. */
export const numbersPerWord: Record<CacheDtype, number> = { f32: 1, f16: 2, int8: 4, int4: 8 };

/** Words before the numbers of a slot: scale and offset, where there are codes. */
export function headerWords(dtype: CacheDtype): number {
  return dtype === 'int8' || dtype === 'int4' ? 1 : 0;
}

/**
 * WGSL that reads a slot of `cache: array<u32>`: `slotHeader(at)` gives scale and offset of the slot that begins at word `at`,
 * and `numberOf(word, k, header)` the k-th number of one of its words.
 */
export function slotReader(dtype: CacheDtype): string {
  const header = headerWords(dtype) === 1 ? 'return unpack2x16float(cache[at]);' : 'return vec2<f32>(1.0, 0.0);';
  const number = {
    f32: 'return bitcast<f32>(word);',
    f16: 'return unpack2x16float(word)[k];',
    int8: 'return header.y + header.x * f32((word >> u32(8 * k)) & 255u);',
    int4: 'return header.y + header.x * f32((word >> u32(4 * k)) & 15u);',
  }[dtype];
  return `
  fn slotHeader(at: i32) -> vec2<f32> { ${header} }
  fn numberOf(word: u32, k: i32, header: vec2<f32>) -> f32 { ${number} }`;
}

/**
 * WGSL with `writeSlot(at, width, lane)`: all `lanes` lanes of a workgroup together write slot[0 .. width - 1] to the words of
 * `cache` from `at` on. Before it a barrier.
 */
export function slotWriter(dtype: CacheDtype): string {
  if (dtype === 'f32') {
    return `
  fn writeSlot(at: i32, width: i32, lane: i32) {
    for (var c = lane; c < width; c += lanes) { cache[at + c] = bitcast<u32>(slot[c]); }
  }`;
  }
  if (dtype === 'f16') {
    return `
  fn writeSlot(at: i32, width: i32, lane: i32) {
    for (var c = 2 * lane; c < width; c += 2 * lanes) {
      var pair = vec2<f32>(slot[c], 0.0);
      if (c + 1 < width) { pair.y = slot[c + 1]; }
      cache[at + c / 2] = pack2x16float(clamp(pair, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
    }
  }`;
  }
  const bits = 32 / numbersPerWord[dtype];
  const most = `${2 ** bits - 1}.0`;
  return `
  var<workgroup> slotLows: array<f32, lanes>;
  var<workgroup> slotHighs: array<f32, lanes>;

  fn writeSlot(at: i32, width: i32, lane: i32) {
    var low = slot[0];
    var high = slot[0];
    for (var c = lane; c < width; c += lanes) {
      low = min(low, slot[c]);
      high = max(high, slot[c]);
    }
    slotLows[lane] = low;
    slotHighs[lane] = high;
    workgroupBarrier();
    for (var other = 0; other < lanes; other++) {
      low = min(low, slotLows[other]);
      high = max(high, slotHighs[other]);
    }
    let range = vec2<f32>((high - low) / ${most}, low);
    let packedHeader = pack2x16float(clamp(range, vec2<f32>(-65504.0), vec2<f32>(65504.0)));
    // Codes belong to the rounded scale and offset, the ones that decoding sees.
    let header = unpack2x16float(packedHeader);
    let inverse = select(0.0, 1.0 / header.x, header.x > 0.0);
    if (lane == 0) { cache[at] = packedHeader; }
    for (var word = lane; word * ${32 / bits} < width; word += lanes) {
      var packed = 0u;
      for (var k = 0; k < ${32 / bits}; k++) {
        let c = word * ${32 / bits} + k;
        if (c < width) {
          let code = clamp(round((slot[c] - header.y) * inverse), 0.0, ${most});
          packed |= u32(code) << u32(k * ${bits});
        }
      }
      cache[at + 1 + word] = packed;
    }
  }`;
}
