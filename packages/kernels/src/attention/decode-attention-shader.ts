import { type CacheFormat, sequenceStruct } from '../cache/cache-format.ts';
import { slotReader } from '../cache/slot-codec-webgpu.ts';
import type { GpuSource } from '../webgpu/program.ts';
import { cacheConstants, DECODE_LANES, type DecodePlan } from './workgroup-plan.ts';

/** `single`: one chunk is all there is, and its result is final. */
interface DecodeCase {
  allHeads: number;
  variants: number;
  window: number;
  sinks: number;
  single: boolean;
}

/**
 * One workgroup: `heads` query heads over one chunk of the cache. Keys go through workgroup memory, read by neighbouring lanes
 * in neighbouring words; all scores of the chunk are kept; then each lane adds up its words of the values over every
 * entryGroups-th entry.
 */
export function decodeSource(format: CacheFormat, plan: DecodePlan, given: DecodeCase): GpuSource {
  return {
    constants: {
      ...cacheConstants(format),
      ...given,
      lanes: DECODE_LANES,
      heads: plan.heads,
      keySlotsHere: plan.keySlots,
      valueSlotsHere: plan.valueSlots,
      headsPerKeySlot: plan.heads / plan.keySlots,
      headsPerValueSlot: plan.heads / plan.valueSlots,
      chunk: plan.chunk,
      tile: plan.tile,
      holdsQueries: plan.holdsQueries,
      scratchSize: plan.scratch,
      wordsPerLane: plan.wordsPerLane,
      entryGroups: plan.entryGroups,
    },
    code: [
      sequenceStruct,
      slotReader(format.dtype),
      workgroupMemory,
      workOfGroup,
      loadQueries,
      scoreEntries,
      exponentiateScores,
      addValues,
      writeResults,
      main,
    ].join('\n'),
  };
}

const workgroupMemory = `
  const least = -3.0e38;
  var<workgroup> query: array<f32, select(1, variants * heads * keySlotWidth, holdsQueries)>;
  var<workgroup> scores: array<f32, heads * chunk>;
  var<workgroup> scratch: array<f32, scratchSize>;
  var<workgroup> partials: array<f32, lanes>;
  var<workgroup> highest: array<f32, heads>;
  var<workgroup> totals: array<f32, heads>;`;

const workOfGroup = `
  struct Work {
    sequence: i32,
    split: i32,
    firstHead: i32,
    /** Entries of the chunk: the first, and how many. */
    start: i32,
    count: i32,
    /** First words of the slots. */
    keys: i32,
    values: i32,
  }

  fn workOf(group: vec3<u32>) -> Work {
    var work: Work;
    work.sequence = i32(group.z);
    work.split = i32(group.y);
    work.firstHead = i32(group.x) * heads;
    let given = sequences[work.sequence];
    var entries = given.held + given.added - given.shift;
    if (window > 0) { entries = min(entries, window + sinks); }
    work.start = work.split * chunk;
    work.count = select(min(chunk, entries - work.start), 0, given.added == 0);
    let cacheStart = (work.sequence * uniforms.capacity + work.start) * entryWords;
    work.keys = cacheStart + (work.firstHead * allKeySlots / allHeads) * keySlotWords;
    work.values =
      cacheStart + allKeySlots * keySlotWords + (work.firstHead * allValueSlots / allHeads) * valueSlotWords;
    return work;
  }`;

const loadQueries = `
  /** Where the query of a head of this workgroup begins, for queryAt. */
  fn queryStart(work: Work, variant: i32, h: i32) -> i32 {
    if (holdsQueries) { return (variant * heads + h) * keySlotWidth; }
    return ((work.sequence * variants + variant) * allHeads + work.firstHead + h) * keySlotWidth;
  }

  fn queryAt(place: i32) -> f32 {
    if (holdsQueries) { return query[place]; }
    return queries[place];
  }

  fn loadQueries(work: Work, lane: i32) {
    if (!holdsQueries) { return; }
    for (var i = lane; i < variants * heads * keySlotWidth; i += lanes) {
      let variant = i / (heads * keySlotWidth);
      let source = ((work.sequence * variants + variant) * allHeads + work.firstHead) * keySlotWidth;
      query[i] = queries[source + i % (heads * keySlotWidth)];
    }
  }`;

const scoreEntries = `
  const keyStride = keySlotsHere * keySlotWidth + 1;

  /** Keys of the entries from first on, as numbers in scratch. */
  fn loadKeys(work: Work, first: i32, count: i32, lane: i32) {
    for (var i = lane; i < count * keySlotsHere * keyNumberWords; i += lanes) {
      let token = i / (keySlotsHere * keyNumberWords);
      let word = i % (keySlotsHere * keyNumberWords);
      let slot = word / keyNumberWords;
      let c = (word % keyNumberWords) * perWord;
      let at = work.keys + (first + token) * entryWords + slot * keySlotWords;
      let header = slotHeader(at);
      let bits = cache[at + headerSize + word % keyNumberWords];
      for (var k = 0; k < perWord; k++) {
        if (c + k < keySlotWidth) {
          scratch[token * keyStride + slot * keySlotWidth + c + k] = numberOf(bits, k, header);
        }
      }
    }
  }

  fn scoreEntries(work: Work, lane: i32) {
    for (var first = 0; first < work.count; first += tile) {
      workgroupBarrier();
      let here = min(tile, work.count - first);
      loadKeys(work, first, here, lane);
      workgroupBarrier();
      for (var i = lane; i < here * heads; i += lanes) {
        let token = i % here;
        let h = i / here;
        let variant = select(0, 1, variants == 2 && work.start + first + token < sinks);
        let begin = queryStart(work, variant, h);
        let key = token * keyStride + (h / headsPerKeySlot) * keySlotWidth;
        var sum = 0.0;
        for (var c = 0; c < keySlotWidth; c++) { sum += queryAt(begin + c) * scratch[key + c]; }
        scores[h * chunk + first + token] = sum;
      }
    }
    workgroupBarrier();
  }`;

const exponentiateScores = `
  const lanesPerHead = max(1, min(16, lanes / heads));
  const headsAtOnce = lanes / lanesPerHead;

  /** Scores become e^(score - highest of the head); highest and totals are written. */
  fn exponentiateScores(work: Work, lane: i32) {
    for (var firstOfRound = 0; firstOfRound < heads; firstOfRound += headsAtOnce) {
      let h = firstOfRound + lane / lanesPerHead;
      let part = lane % lanesPerHead;
      let counts = h < heads && lane / lanesPerHead < headsAtOnce;
      var high = least;
      if (counts) {
        for (var n = part; n < work.count; n += lanesPerHead) { high = max(high, scores[h * chunk + n]); }
      }
      partials[lane] = high;
      workgroupBarrier();
      if (counts) {
        for (var other = 0; other < lanesPerHead; other++) { high = max(high, partials[lane - part + other]); }
      }
      workgroupBarrier();
      var total = 0.0;
      if (counts) {
        for (var n = part; n < work.count; n += lanesPerHead) {
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
  }`;

const addValues = `
  const valueWordsHere = valueSlotsHere * valueNumberWords;
  const sumsPerLane = wordsPerLane * perWord * headsPerValueSlot;

  /** Weighted sums of the values, into scratch [heads, valueSlotWidth]. */
  fn addValues(work: Work, lane: i32) {
    var sums = array<f32, sumsPerLane>();
    let entryGroup = select(lane / valueWordsHere, 0, wordsPerLane > 1);
    let firstWord = select(lane % valueWordsHere, lane, wordsPerLane > 1);
    if (entryGroup < entryGroups) {
      for (var token = entryGroup; token < work.count; token += entryGroups) {
        var place = 0;
        for (var word = firstWord; word < valueWordsHere; word += lanes) {
          let slot = word / valueNumberWords;
          let at = work.values + token * entryWords + slot * valueSlotWords;
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
    for (var round = 0; round < entryGroups; round++) {
      workgroupBarrier();
      if (entryGroup == round) {
        var place = 0;
        for (var word = firstWord; word < valueWordsHere; word += lanes) {
          let slot = word / valueNumberWords;
          for (var k = 0; k < perWord; k++) {
            let c = (word % valueNumberWords) * perWord + k;
            for (var h = 0; h < headsPerValueSlot; h++) {
              let o = (slot * headsPerValueSlot + h) * valueSlotWidth + c;
              if (c < valueSlotWidth) { scratch[o] = select(scratch[o], 0.0, round == 0) + sums[place]; }
              place++;
            }
          }
        }
      }
    }
    workgroupBarrier();
  }`;

const writeResults = `
  /** Of a chunk: the sums of each head, then its highest score and its sum of weights. */
  fn resultStart(work: Work, h: i32) -> i32 {
    let row = work.sequence * allHeads + work.firstHead + h;
    if (single) { return row * valueSlotWidth; }
    return (row * uniforms.splits + work.split) * (valueSlotWidth + 2);
  }

  fn writeResults(work: Work, lane: i32) {
    for (var o = lane; o < heads * valueSlotWidth; o += lanes) {
      let h = o / valueSlotWidth;
      var value = scratch[o];
      if (single) { value = value / totals[h]; }
      results[resultStart(work, h) + o % valueSlotWidth] = value;
    }
    if (!single) {
      for (var h = lane; h < heads; h += lanes) {
        let at = resultStart(work, h) + valueSlotWidth;
        results[at] = highest[h];
        results[at + 1] = totals[h];
      }
    }
  }

  fn writeNothing(work: Work, lane: i32) {
    for (var o = lane; o < heads * valueSlotWidth; o += lanes) {
      results[resultStart(work, o / valueSlotWidth) + o % valueSlotWidth] = 0.0;
    }
  }`;

const main = `
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let work = workOf(group);
    if (work.count <= 0) {
      // Of several chunks those without entries are not looked at.
      if (single) { writeNothing(work, lane); }
      return;
    }
    loadQueries(work, lane);
    scoreEntries(work, lane);
    exponentiateScores(work, lane);
    addValues(work, lane);
    writeResults(work, lane);
  }`;
