import type { CacheFormat } from '../cache/cache-format.ts';
import { slotReader } from '../cache/slot-shader.ts';
import { cacheConstants } from './cache-constants.ts';
import { DECODE_LANES, type DecodePlan } from './decode-plan.ts';

/** What the shader is specialised on, as constants. */
export function decodeConstants(format: CacheFormat, plan: DecodePlan, numAttentionHeads: number) {
  return {
    ...cacheConstants(format),
    allHeads: numAttentionHeads,
    heads: plan.heads,
    keySlotsHere: plan.keySlots,
    valueSlotsHere: plan.valueSlots,
    headsPerKeySlot: plan.heads / plan.keySlots,
    headsPerValueSlot: plan.heads / plan.valueSlots,
    chunk: plan.chunk,
    tile: plan.tile,
    scratchSize: plan.scratch,
    wordsPerLane: plan.wordsPerLane,
    entryGroups: plan.entryGroups,
  };
}

/**
 * One workgroup: `heads` query heads over one chunk of the cache. Keys go through workgroup memory, read by neighbouring lanes
 * in neighbouring words; all scores of the chunk are kept; then each lane adds up its words of the values over every
 * entryGroups-th entry. `single`: one chunk is all there is, and its result is final.
 */
export function decodeShader(format: CacheFormat, variants: number, single: boolean): string {
  const readQuery = variants === 2 ? `let variant = select(0, 1, first + token < sinks);` : `let variant = 0;`;
  return `
  const lanes = ${DECODE_LANES};
  const variants = ${variants};
  const least = -3.0e38;
  const lanesPerHead = max(1, min(16, lanes / heads));
  const headsAtOnce = lanes / lanesPerHead;
  const sumsPerLane = wordsPerLane * perWord * headsPerValueSlot;
  var<workgroup> query: array<f32, variants * heads * keySlotWidth>;
  var<workgroup> scores: array<f32, heads * chunk>;
  var<workgroup> scratch: array<f32, scratchSize>;
  var<workgroup> partials: array<f32, lanes>;
  var<workgroup> highest: array<f32, heads>;
  var<workgroup> totals: array<f32, heads>;
  ${slotReader(format.dtype)}
  fn resultStart(sequence: i32, head: i32, split: i32) -> i32 {
    ${
      single
        ? 'return (sequence * allHeads + head) * valueSlotWidth;'
        : 'return ((sequence * allHeads + head) * uniforms.splits + split) * (valueSlotWidth + 2);'
    }
  }
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let firstHead = i32(group.x) * heads;
    let split = i32(group.y);
    let sequence = i32(group.z);
    var entries = sequences[3 * sequence] + sequences[3 * sequence + 1] - sequences[3 * sequence + 2];
    if (window > 0) { entries = min(entries, window + sinks); }
    let idle = sequences[3 * sequence + 1] == 0;
    let start = split * chunk;
    let count = select(min(chunk, entries - start), 0, idle);
    if (count <= 0) {
      for (var o = lane; o < heads * valueSlotWidth; o += lanes) {
        results[resultStart(sequence, firstHead + o / valueSlotWidth, split) + o % valueSlotWidth] = 0.0;
      }
      ${
        single
          ? ''
          : `for (var h = lane; h < heads; h += lanes) {
        let at = resultStart(sequence, firstHead + h, split) + valueSlotWidth;
        results[at] = least;
        results[at + 1] = 0.0;
      }`
      }
      return;
    }
    let cacheStart = (sequence * uniforms.capacity + start) * entryWords;
    let keyStart = cacheStart + (firstHead * allKeySlots / allHeads) * keySlotWords;
    let valueStart = cacheStart + allKeySlots * keySlotWords + (firstHead * allValueSlots / allHeads) * valueSlotWords;
    for (var i = lane; i < variants * heads * keySlotWidth; i += lanes) {
      let variant = i / (heads * keySlotWidth);
      query[i] = queries[((sequence * variants + variant) * allHeads + firstHead) * keySlotWidth + i % (heads * keySlotWidth)];
    }

    for (var first = 0; first < count; first += tile) {
      workgroupBarrier();
      let here = min(tile, count - first);
      for (var i = lane; i < here * keySlotsHere * keyNumberWords; i += lanes) {
        let token = i / (keySlotsHere * keyNumberWords);
        let word = i % (keySlotsHere * keyNumberWords);
        let slot = word / keyNumberWords;
        let c = (word % keyNumberWords) * perWord;
        let at = keyStart + (first + token) * entryWords + slot * keySlotWords;
        let header = slotHeader(at);
        let bits = cache[at + headerSize + word % keyNumberWords];
        for (var k = 0; k < perWord; k++) {
          if (c + k < keySlotWidth) {
            scratch[token * (keySlotsHere * keySlotWidth + 1) + slot * keySlotWidth + c + k] = numberOf(bits, k, header);
          }
        }
      }
      workgroupBarrier();
      for (var i = lane; i < here * heads; i += lanes) {
        let token = i % here;
        let h = i / here;
        ${readQuery.replace('first + token', 'start + first + token')}
        let begin = (variant * heads + h) * keySlotWidth;
        let key = token * (keySlotsHere * keySlotWidth + 1) + (h / headsPerKeySlot) * keySlotWidth;
        var sum = 0.0;
        for (var c = 0; c < keySlotWidth; c++) { sum += query[begin + c] * scratch[key + c]; }
        scores[h * chunk + first + token] = sum;
      }
    }
    workgroupBarrier();

    for (var firstOfRound = 0; firstOfRound < heads; firstOfRound += headsAtOnce) {
      let h = firstOfRound + lane / lanesPerHead;
      let part = lane % lanesPerHead;
      let counts = h < heads && lane / lanesPerHead < headsAtOnce;
      var high = least;
      if (counts) {
        for (var n = part; n < count; n += lanesPerHead) { high = max(high, scores[h * chunk + n]); }
      }
      partials[lane] = high;
      workgroupBarrier();
      if (counts) {
        for (var other = 0; other < lanesPerHead; other++) { high = max(high, partials[lane - part + other]); }
      }
      workgroupBarrier();
      var total = 0.0;
      if (counts) {
        for (var n = part; n < count; n += lanesPerHead) {
          let weight = exp(scores[h * chunk + n] - high);
          scores[h * chunk + n] = weight;
          total += weight;
        }
      }
      partials[lane] = total;
      workgroupBarrier();
      if (counts && part == 0) {
        for (var other = 1; other < lanesPerHead; other++) { total += partials[lane + other]; }
        highest[h] = high;
        totals[h] = total;
      }
      workgroupBarrier();
    }

    var sums = array<f32, sumsPerLane>();
    let entryGroup = select(lane / (valueSlotsHere * valueNumberWords), 0, wordsPerLane > 1);
    let firstWord = select(lane % (valueSlotsHere * valueNumberWords), lane, wordsPerLane > 1);
    if (entryGroup < entryGroups) {
      for (var token = entryGroup; token < count; token += entryGroups) {
        var place = 0;
        for (var word = firstWord; word < valueSlotsHere * valueNumberWords; word += lanes) {
          let slot = word / valueNumberWords;
          let at = valueStart + token * entryWords + slot * valueSlotWords;
          let header = slotHeader(at);
          let bits = cache[at + headerSize + word % valueNumberWords];
          for (var k = 0; k < perWord; k++) {
            let value = numberOf(bits, k, header);
            for (var h = 0; h < headsPerValueSlot; h++) {
              sums[place] += scores[(slot * headsPerValueSlot + h) * chunk + token] * value;
              place++;
            }
          }
        }
      }
    }
    for (var turn = 0; turn < entryGroups; turn++) {
      workgroupBarrier();
      if (entryGroup == turn) {
        var place = 0;
        for (var word = firstWord; word < valueSlotsHere * valueNumberWords; word += lanes) {
          let slot = word / valueNumberWords;
          for (var k = 0; k < perWord; k++) {
            let c = (word % valueNumberWords) * perWord + k;
            for (var h = 0; h < headsPerValueSlot; h++) {
              let o = (slot * headsPerValueSlot + h) * valueSlotWidth + c;
              if (c < valueSlotWidth) { scratch[o] = select(scratch[o], 0.0, turn == 0) + sums[place]; }
              place++;
            }
          }
        }
      }
    }
    workgroupBarrier();
    for (var o = lane; o < heads * valueSlotWidth; o += lanes) {
      let h = o / valueSlotWidth;
      results[resultStart(sequence, firstHead + h, split) + o % valueSlotWidth] = scratch[o]${single ? ' / totals[h]' : ''};
    }
    ${
      single
        ? ''
        : `for (var h = lane; h < heads; h += lanes) {
      let at = resultStart(sequence, firstHead + h, split) + valueSlotWidth;
      results[at] = highest[h];
      results[at + 1] = totals[h];
    }`
    }
  }`;
}

/** Joins the chunks of one head: weights each by the exponential of its highest score. */
export const combineShader = `
  const lanes = 64;
  var<workgroup> highs: array<f32, lanes>;
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let row = i32(group.y) * allHeads + i32(group.x);
    let step = valueSlotWidth + 2;
    let begin = row * uniforms.splits * step;
    var high = -3.0e38;
    for (var split = lane; split < uniforms.used; split += lanes) {
      high = max(high, chunkResults[begin + split * step + valueSlotWidth]);
    }
    highs[lane] = high;
    workgroupBarrier();
    for (var other = 0; other < lanes; other++) { high = max(high, highs[other]); }
    for (var c = lane; c < valueSlotWidth; c += lanes) {
      var sum = 0.0;
      var total = 0.0;
      for (var split = 0; split < uniforms.used; split++) {
        let at = begin + split * step;
        let weight = exp(chunkResults[at + valueSlotWidth] - high);
        sum += weight * chunkResults[at + c];
        total += weight * chunkResults[at + valueSlotWidth + 1];
      }
      results[row * valueSlotWidth + c] = select(0.0, sum / total, total > 0.0);
    }
  }`;
