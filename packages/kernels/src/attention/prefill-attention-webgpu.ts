import { slotWords } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { type CacheFormat, formatShape, sequenceStruct } from '../cache/cache-format.ts';
import { numberReader, slotHeader } from '../cache/slot-codec-webgpu.ts';
import type { GpuSource } from '../webgpu/program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { AttentionAttributes, AttentionInputs } from './attention-host.ts';
import {
  cacheConstants,
  foursOfSlots,
  headsOfOneSlot,
  PREFILL_LANES,
  type PrefillPlan,
  planPrefill,
  wordsAtOnce,
} from './workgroup-plan.ts';

/** The body of `prefillAttention` on WebGPU: one dispatch. */
export function prefillAttentionOnGpu(
  gpu: WebGPUBackend,
  inputs: AttentionInputs,
  { format, window }: AttentionAttributes,
): TensorInfo {
  const [rows, variants, numAttentionHeads] = inputs.queries.shape as [number, number, number];
  const [batch, capacity] = inputs.cache.shape as [number, number];
  const { valueSlotWidth } = format.layout;
  const tokens = rows / batch;
  const plan = planPrefill(format, variants);
  const headsTogether = headsOfOneSlot(format.layout, numAttentionHeads);
  const [results] = runProgram(gpu, {
    name: 'prefill_attention',
    shape: [...formatShape(format), numAttentionHeads, variants, window.window, window.sinks],
    reads: [
      { name: 'queries', type: 'f32', tensor: inputs.queries },
      { name: 'cache', type: wordsAtOnce(format) === 4 ? 'vec4<u32>' : 'u32', tensor: inputs.cache },
      { name: 'sequences', type: 'struct Sequence', tensor: inputs.sequences },
    ],
    writes: [{ name: 'results', type: 'f32', shape: [rows, numAttentionHeads * valueSlotWidth], dtype: 'float32' }],
    uniforms: [
      { name: 'capacity', type: 'i32', value: capacity },
      { name: 'tokens', type: 'i32', value: tokens },
    ],
    workgroups: [numAttentionHeads / headsTogether, Math.ceil((tokens * headsTogether) / plan.rows), batch],
    source: () => prefillSource(format, plan, { allHeads: numAttentionHeads, headsTogether, variants, ...window }),
  });
  return results!;
}

interface PrefillCase {
  allHeads: number;
  headsTogether: number;
  variants: number;
  window: number;
  sinks: number;
}

/**
 * One workgroup: `rows` rows, tokens times the heads of one slot, over all entries that its last token may see, a tile at a
 * time with an online softmax. Numbers lie in memory in fours, zeros behind the last; a team of lanes shares the softmax of a row.
 */
function prefillSource(format: CacheFormat, plan: PrefillPlan, given: PrefillCase): GpuSource {
  const { keyFours, valueFours, stride } = foursOfSlots(format.layout);
  return {
    constants: {
      ...cacheConstants(format),
      ...given,
      lanes: PREFILL_LANES,
      rows: plan.rows,
      team: PREFILL_LANES / plan.rows,
      tile: plan.tile,
      holdsQueries: plan.holdsQueries,
      ...{ keyFours, valueFours, stride },
      sumsPerLane: Math.ceil((plan.rows * valueFours) / PREFILL_LANES),
    },
    code: [
      sequenceStruct,
      slotHeader(format.dtype),
      numberReader(format.dtype),
      fourNumbersAt(format),
      workgroupMemory,
      blockOfGroup,
      loadQueries,
      loadSlots,
      scoreTile,
      main,
    ].join('\n'),
  };
}

/** WGSL: the numbers 4 q to 4 q + 3 of a slot, whose words begin at `at`. Those behind its last are anything but infinite. */
function fourNumbersAt(format: CacheFormat): string {
  const { numbersPerWord: perWord } = slotWords(format.dtype);
  const numbers = (word: (k: number) => string) =>
    `vec4<f32>(${[0, 1, 2, 3].map((k) => `numberOf(${word(k)}, ${perWord > 4 ? `4 * (q % 2) + ${k}` : k % perWord}, header)`).join(', ')})`;
  const body = () => {
    if (wordsAtOnce(format) === 4) {
      if (perWord === 1) return `let words = cache[at / 4 + q]; return ${numbers((k) => `words[${k}]`)};`;
      if (perWord === 2) {
        return `let four = cache[at / 4 + q / 2];
    let words = select(four.xy, four.zw, (q & 1) != 0);
    return ${numbers((k) => `words[${k >> 1}]`)};`;
      }
      return `let word = cache[at / 4 + q / 4][q & 3]; return ${numbers(() => 'word')};`;
    }
    const last = 'numberWords - 1';
    return `return ${numbers((k) => `cache[at + min(${perWord >= 4 ? `q * 4 / ${perWord}` : `${4 / perWord} * q + ${Math.floor(k / perWord)}`}, ${last})]`)};`;
  };
  return `
  fn fourAt(at: i32, q: i32, numberWords: i32, header: vec2<f32>) -> vec4<f32> {
    ${body()}
  }`;
}

const workgroupMemory = `
  const least = -3.0e38;
  var<workgroup> query: array<vec4<f32>, select(1, variants * rows * keyFours, holdsQueries)>;
  var<workgroup> scores: array<f32, rows * tile>;
  var<workgroup> numbers: array<vec4<f32>, tile * stride>;
  var<workgroup> shrinks: array<f32, rows>;
  var<workgroup> totals: array<f32, lanes>;`;

const blockOfGroup = `
  struct Block {
    sequence: i32,
    given: Sequence,
    firstHead: i32,
    /** Of the sequence's rows (tokens times heads of one slot): the first, and how many. */
    firstRow: i32,
    rows: i32,
    /** Entries that the last token may see. */
    entries: i32,
    /** First words of the slots. */
    keys: i32,
    values: i32,
  }

  fn tokenOf(block: Block, r: i32) -> i32 { return (block.firstRow + r) / headsTogether; }
  fn headOf(block: Block, r: i32) -> i32 { return block.firstHead + (block.firstRow + r) % headsTogether; }

  fn blockOf(group: vec3<u32>) -> Block {
    var block: Block;
    block.sequence = i32(group.z);
    block.given = sequences[block.sequence];
    block.firstHead = i32(group.x) * headsTogether;
    block.firstRow = i32(group.y) * rows;
    block.rows = min(rows, uniforms.tokens * headsTogether - block.firstRow);
    let given = block.given;
    let lastToken = min(given.added, tokenOf(block, block.rows - 1) + 1) - 1;
    block.entries = select(given.held + lastToken + 1 - given.shift, 0, tokenOf(block, 0) >= given.added);
    let cacheStart = block.sequence * uniforms.capacity * entryWords;
    block.keys = cacheStart + (block.firstHead * allKeySlots / allHeads) * keySlotWords;
    block.values =
      cacheStart + allKeySlots * keySlotWords + (block.firstHead * allValueSlots / allHeads) * valueSlotWords;
    return block;
  }

  /** By how many tokens an entry is older than a new token. */
  fn ageOf(given: Sequence, token: i32, entry: i32) -> i32 {
    return given.held + token - entry - select(given.shift, 0, entry < sinks);
  }`;

const loadQueries = `
  /** Where the query of a row begins in the tensor. */
  fn querySource(block: Block, variant: i32, r: i32) -> i32 {
    let row = (block.sequence * uniforms.tokens + tokenOf(block, r)) * variants + variant;
    return (row * allHeads + headOf(block, r)) * keySlotWidth;
  }

  /** Four numbers of a query, zeros behind its last. */
  fn queryOf(source: i32, q: i32) -> vec4<f32> {
    var four = vec4<f32>();
    for (var k = 0; k < 4; k++) {
      if (4 * q + k < keySlotWidth) { four[k] = queries[source + 4 * q + k]; }
    }
    return four;
  }

  fn queryAt(block: Block, variant: i32, r: i32, q: i32) -> vec4<f32> {
    if (holdsQueries) { return query[(variant * rows + r) * keyFours + q]; }
    return queryOf(querySource(block, variant, r), q);
  }

  fn loadQueries(block: Block, lane: i32) {
    if (!holdsQueries) { return; }
    for (var i = lane; i < variants * rows * keyFours; i += lanes) {
      let q = i % keyFours;
      let r = (i / keyFours) % rows;
      let variant = i / (keyFours * rows);
      if (r < block.rows) { query[i] = queryOf(querySource(block, variant, r), q); }
    }
  }`;

const loadSlots = `
  /** Slots of \`count\` entries, one of each, as rows of fours; the first begins at word \`start\`. */
  fn loadSlots(start: i32, count: i32, fours: i32, slotNumberWords: i32, width: i32, lane: i32) {
    for (var i = lane; i < count * fours; i += lanes) {
      let n = i / fours;
      let q = i % fours;
      let at = start + n * entryWords;
      let four = fourAt(at + headerSize, q, slotNumberWords, slotHeader(at));
      numbers[n * stride + q] = select(vec4<f32>(), four, vec4<i32>(4 * q) + vec4<i32>(0, 1, 2, 3) < vec4<i32>(width));
    }
  }`;

const scoreTile = `
  fn scoreTile(block: Block, first: i32, count: i32, lane: i32) {
    for (var i = lane; i < block.rows * count; i += lanes) {
      let n = i % count;
      let r = i / count;
      let entry = first + n;
      let age = ageOf(block.given, tokenOf(block, r), entry);
      var score = least;
      if (age >= 0 && (window == 0 || entry < sinks || age < window)) {
        let variant = select(0, 1, variants == 2 && entry < sinks);
        score = 0.0;
        for (var q = 0; q < keyFours; q++) { score += dot(queryAt(block, variant, r, q), numbers[n * stride + q]); }
      }
      scores[r * tile + n] = score;
    }
  }`;

const main = `
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let block = blockOf(group);
    loadQueries(block, lane);
    // Of the row whose softmax this lane shares with its team.
    let ownRow = lane / team;
    let part = lane % team;
    var high = least;
    var total = 0.0;
    var sums = array<vec4<f32>, sumsPerLane>();

    for (var first = 0; first < block.entries; first += tile) {
      let here = min(tile, block.entries - first);
      // Wholly behind the window of the first token, and so of all.
      let youngest = ageOf(block.given, tokenOf(block, 0), first + here - 1);
      if (window > 0 && first >= sinks && youngest >= window) { continue; }
      workgroupBarrier();
      loadSlots(block.keys + first * entryWords, here, keyFours, keyNumberWords, keySlotWidth, lane);
      workgroupBarrier();
      scoreTile(block, first, here, lane);
      workgroupBarrier();
      loadSlots(block.values + first * entryWords, here, valueFours, valueNumberWords, valueSlotWidth, lane);
      let before = high;
      if (ownRow < block.rows) {
        for (var n = 0; n < here; n++) { high = max(high, scores[ownRow * tile + n]); }
      }
      workgroupBarrier();
      // Scores become weights; what was summed so far is to be multiplied by shrinks.
      let shrink = exp(before - high);
      total *= shrink;
      if (ownRow < block.rows) {
        for (var n = part; n < here; n += team) {
          let score = scores[ownRow * tile + n];
          let weight = select(0.0, exp(score - high), score > least);
          scores[ownRow * tile + n] = weight;
          total += weight;
        }
        if (part == 0) { shrinks[ownRow] = shrink; }
      }
      workgroupBarrier();
      var place = 0;
      for (var o = lane; o < block.rows * valueFours; o += lanes) {
        let r = o / valueFours;
        let q = o % valueFours;
        var sum = sums[place] * shrinks[r];
        for (var n = 0; n < here; n++) { sum += scores[r * tile + n] * numbers[n * stride + q]; }
        sums[place] = sum;
        place++;
      }
    }

    totals[lane] = total;
    workgroupBarrier();
    var place = 0;
    for (var o = lane; o < block.rows * valueFours; o += lanes) {
      let r = o / valueFours;
      let q = o % valueFours;
      let token = tokenOf(block, r);
      var all = 0.0;
      for (var other = 0; other < team; other++) { all += totals[r * team + other]; }
      let value = select(vec4<f32>(), sums[place] / all, token < block.given.added && all > 0.0);
      let row = (block.sequence * uniforms.tokens + token) * allHeads + headOf(block, r);
      for (var k = 0; k < 4; k++) {
        if (4 * q + k < valueSlotWidth) { results[row * valueSlotWidth + 4 * q + k] = value[k]; }
      }
      place++;
    }
  }`;
