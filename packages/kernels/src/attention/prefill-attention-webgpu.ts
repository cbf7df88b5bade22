import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { type CacheFormat, formatShape, sequenceStruct } from '../cache/cache-format.ts';
import { slotReader } from '../cache/slot-codec-webgpu.ts';
import type { GpuSource } from '../webgpu/program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { AttentionAttributes, AttentionInputs } from './attention-host.ts';
import { cacheConstants, headsOfOneSlot, PREFILL_LANES, type PrefillPlan, planPrefill } from './workgroup-plan.ts';

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
      { name: 'cache', type: 'u32', tensor: inputs.cache },
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
 * time with an online softmax.
 */
function prefillSource(format: CacheFormat, plan: PrefillPlan, given: PrefillCase): GpuSource {
  const { keySlotWidth, valueSlotWidth } = format.layout;
  return {
    constants: {
      ...cacheConstants(format),
      ...given,
      lanes: PREFILL_LANES,
      rows: plan.rows,
      tile: plan.tile,
      holdsQueries: plan.holdsQueries,
      stride: Math.max(keySlotWidth, valueSlotWidth) + 1,
      sumsPerLane: Math.ceil((plan.rows * valueSlotWidth) / PREFILL_LANES),
    },
    code: [
      sequenceStruct,
      slotReader(format.dtype),
      workgroupMemory,
      blockOfGroup,
      loadQueries,
      loadSlots,
      scoreTile,
      exponentiateTile,
      main,
    ].join('\n'),
  };
}

const workgroupMemory = `
  const least = -3.0e38;
  var<workgroup> query: array<f32, select(1, variants * rows * keySlotWidth, holdsQueries)>;
  var<workgroup> scores: array<f32, rows * tile>;
  var<workgroup> numbers: array<f32, tile * stride>;
  var<workgroup> highest: array<f32, rows>;
  var<workgroup> totals: array<f32, rows>;
  var<workgroup> shrinks: array<f32, rows>;`;

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

  /** Where it begins for queryAt. */
  fn queryStart(block: Block, variant: i32, r: i32) -> i32 {
    if (holdsQueries) { return (variant * rows + r) * keySlotWidth; }
    return querySource(block, variant, r);
  }

  fn queryAt(place: i32) -> f32 {
    if (holdsQueries) { return query[place]; }
    return queries[place];
  }

  fn loadQueries(block: Block, lane: i32) {
    if (!holdsQueries) { return; }
    for (var i = lane; i < variants * block.rows * keySlotWidth; i += lanes) {
      let c = i % keySlotWidth;
      let r = (i / keySlotWidth) % block.rows;
      let variant = i / (keySlotWidth * block.rows);
      query[(variant * rows + r) * keySlotWidth + c] = queries[querySource(block, variant, r) + c];
    }
  }`;

const loadSlots = `
  /** Slots of \`count\` entries, one of each, as rows of numbers; the first begins at word \`start\`. */
  fn loadSlots(start: i32, count: i32, slotNumberWords: i32, width: i32, lane: i32) {
    for (var i = lane; i < count * slotNumberWords; i += lanes) {
      let n = i / slotNumberWords;
      let word = i % slotNumberWords;
      let at = start + n * entryWords;
      let header = slotHeader(at);
      let bits = cache[at + headerSize + word];
      for (var k = 0; k < perWord; k++) {
        let c = word * perWord + k;
        if (c < width) { numbers[n * stride + c] = numberOf(bits, k, header); }
      }
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
        let begin = queryStart(block, select(0, 1, variants == 2 && entry < sinks), r);
        score = 0.0;
        for (var c = 0; c < keySlotWidth; c++) { score += queryAt(begin + c) * numbers[n * stride + c]; }
      }
      scores[r * tile + n] = score;
    }
  }`;

const exponentiateTile = `
  /** Scores become weights; what was summed so far is to be multiplied by shrinks. */
  fn exponentiateTile(block: Block, count: i32, lane: i32) {
    for (var r = lane; r < block.rows; r += lanes) {
      let before = highest[r];
      var high = before;
      for (var n = 0; n < count; n++) { high = max(high, scores[r * tile + n]); }
      let shrink = exp(before - high);
      var total = totals[r] * shrink;
      for (var n = 0; n < count; n++) {
        let score = scores[r * tile + n];
        let weight = select(0.0, exp(score - high), score > least);
        scores[r * tile + n] = weight;
        total += weight;
      }
      highest[r] = high;
      totals[r] = total;
      shrinks[r] = shrink;
    }
  }`;

const main = `
  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let block = blockOf(group);
    loadQueries(block, lane);
    for (var r = lane; r < rows; r += lanes) {
      highest[r] = least;
      totals[r] = 0.0;
    }
    var sums = array<f32, sumsPerLane>();

    for (var first = 0; first < block.entries; first += tile) {
      let here = min(tile, block.entries - first);
      // Wholly behind the window of the first token, and so of all.
      let youngest = ageOf(block.given, tokenOf(block, 0), first + here - 1);
      if (window > 0 && first >= sinks && youngest >= window) { continue; }
      workgroupBarrier();
      loadSlots(block.keys + first * entryWords, here, keyNumberWords, keySlotWidth, lane);
      workgroupBarrier();
      scoreTile(block, first, here, lane);
      workgroupBarrier();
      loadSlots(block.values + first * entryWords, here, valueNumberWords, valueSlotWidth, lane);
      exponentiateTile(block, here, lane);
      workgroupBarrier();
      var place = 0;
      for (var o = lane; o < block.rows * valueSlotWidth; o += lanes) {
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
    for (var o = lane; o < block.rows * valueSlotWidth; o += lanes) {
      let r = o / valueSlotWidth;
      let token = tokenOf(block, r);
      let value = select(0.0, sums[place] / totals[r], token < block.given.added && totals[r] > 0.0);
      let row = (block.sequence * uniforms.tokens + token) * allHeads + headOf(block, r);
      results[row * valueSlotWidth + o % valueSlotWidth] = value;
      place++;
    }
  }`;
