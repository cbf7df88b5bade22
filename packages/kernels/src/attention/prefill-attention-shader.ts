import type { CacheFormat } from '../cache/cache-format.ts';
import { slotReader } from '../cache/slot-shader.ts';
import { cacheConstants } from './cache-constants.ts';
import { PREFILL_LANES, type PrefillPlan } from './prefill-plan.ts';

/** What the shader is specialised on, as constants. */
export function prefillConstants(
  format: CacheFormat,
  plan: PrefillPlan,
  numAttentionHeads: number,
  headsTogether: number,
) {
  const { layout } = format;
  return {
    ...cacheConstants(format),
    allHeads: numAttentionHeads,
    headsTogether,
    rows: plan.rows,
    tile: plan.tile,
    stride: Math.max(layout.keySlotWidth, layout.valueSlotWidth) + 1,
    sumsPerLane: Math.ceil((plan.rows * layout.valueSlotWidth) / PREFILL_LANES),
  };
}

/**
 * One workgroup: `rows` rows, tokens times the heads of one slot, over all entries that its last token may see, a tile at a
 * time with an online softmax.
 */
export function prefillShader(format: CacheFormat, variants: number): string {
  const loadTile = (start: string, numberOfWords: string, width: string) => `
      for (var i = lane; i < here * ${numberOfWords}; i += lanes) {
        let n = i / ${numberOfWords};
        let word = i % ${numberOfWords};
        let at = ${start} + (first + n) * entryWords;
        let header = slotHeader(at);
        let bits = cache[at + headerSize + word];
        for (var k = 0; k < perWord; k++) {
          let c = word * perWord + k;
          if (c < ${width}) { numbers[n * stride + c] = numberOf(bits, k, header); }
        }
      }`;
  return `
  const lanes = ${PREFILL_LANES};
  const variants = ${variants};
  const least = -3.0e38;
  var<workgroup> query: array<f32, variants * rows * keySlotWidth>;
  var<workgroup> scores: array<f32, rows * tile>;
  var<workgroup> numbers: array<f32, tile * stride>;
  var<workgroup> highest: array<f32, rows>;
  var<workgroup> totals: array<f32, rows>;
  var<workgroup> shrinks: array<f32, rows>;
  ${slotReader(format.dtype)}
  fn age(position: i32, entry: i32, shift: i32) -> i32 {
    return position - entry - select(shift, 0, entry < sinks);
  }
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let firstHead = i32(group.x) * headsTogether;
    let firstRow = i32(group.y) * rows;
    let sequence = i32(group.z);
    let held = sequences[3 * sequence];
    let added = sequences[3 * sequence + 1];
    let shift = sequences[3 * sequence + 2];
    let rowsHere = min(rows, uniforms.tokens * headsTogether - firstRow);
    let firstToken = firstRow / headsTogether;
    let lastToken = min(added, (firstRow + rowsHere - 1) / headsTogether + 1) - 1;
    let entries = select(held + lastToken + 1 - shift, 0, firstToken >= added);
    let cacheStart = sequence * uniforms.capacity * entryWords;
    let keyStart = cacheStart + (firstHead * allKeySlots / allHeads) * keySlotWords;
    let valueStart = cacheStart + allKeySlots * keySlotWords + (firstHead * allValueSlots / allHeads) * valueSlotWords;
    for (var i = lane; i < variants * rowsHere * keySlotWidth; i += lanes) {
      let c = i % keySlotWidth;
      let r = (i / keySlotWidth) % rowsHere;
      let variant = i / (keySlotWidth * rowsHere);
      let token = (firstRow + r) / headsTogether;
      let h = firstHead + (firstRow + r) % headsTogether;
      let source = (((sequence * uniforms.tokens + token) * variants + variant) * allHeads + h) * keySlotWidth + c;
      query[(variant * rows + r) * keySlotWidth + c] = queries[source];
    }
    for (var r = lane; r < rows; r += lanes) {
      highest[r] = least;
      totals[r] = 0.0;
    }
    var sums = array<f32, sumsPerLane>();

    for (var first = 0; first < entries; first += tile) {
      let here = min(tile, entries - first);
      // Wholly behind the window of the first token, and so of all.
      if (window > 0 && first >= sinks && age(held + firstToken, first + here - 1, shift) >= window) { continue; }
      workgroupBarrier();
      ${loadTile('keyStart', 'keyNumberWords', 'keySlotWidth')}
      workgroupBarrier();
      for (var i = lane; i < rowsHere * here; i += lanes) {
        let n = i % here;
        let r = i / here;
        let entry = first + n;
        let token = (firstRow + r) / headsTogether;
        let years = age(held + token, entry, shift);
        var score = least;
        if (years >= 0 && (window == 0 || entry < sinks || years < window)) {
          let variant = select(0, 1, variants == 2 && entry < sinks);
          let q = (variant * rows + r) * keySlotWidth;
          score = 0.0;
          for (var c = 0; c < keySlotWidth; c++) { score += query[q + c] * numbers[n * stride + c]; }
        }
        scores[r * tile + n] = score;
      }
      workgroupBarrier();
      ${loadTile('valueStart', 'valueNumberWords', 'valueSlotWidth')}
      for (var r = lane; r < rowsHere; r += lanes) {
        let before = highest[r];
        var high = before;
        for (var n = 0; n < here; n++) { high = max(high, scores[r * tile + n]); }
        let shrink = exp(before - high);
        var total = totals[r] * shrink;
        for (var n = 0; n < here; n++) {
          let score = scores[r * tile + n];
          let weight = select(0.0, exp(score - high), score > least);
          scores[r * tile + n] = weight;
          total += weight;
        }
        highest[r] = high;
        totals[r] = total;
        shrinks[r] = shrink;
      }
      workgroupBarrier();
      var place = 0;
      for (var o = lane; o < rowsHere * valueSlotWidth; o += lanes) {
        let r = o / valueSlotWidth;
        let c = o % valueSlotWidth;
        var sum = sums[place] * shrinks[r];
        for (var n = 0; n < here; n++) { sum += scores[r * tile + n] * numbers[n * stride + c]; }
        sums[place] = sum;
        place++;
      }
    }

    workgroupBarrier();
    var place = 0;
    for (var o = lane; o < rowsHere * valueSlotWidth; o += lanes) {
      let r = o / valueSlotWidth;
      let token = (firstRow + r) / headsTogether;
      let h = firstHead + (firstRow + r) % headsTogether;
      let value = select(0.0, sums[place] / totals[r], token < added && totals[r] > 0.0);
      results[((sequence * uniforms.tokens + token) * allHeads + h) * valueSlotWidth + o % valueSlotWidth] = value;
      place++;
    }
  }`;
}
