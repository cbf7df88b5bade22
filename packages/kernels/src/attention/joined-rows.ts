import type { TensorInfo } from '@tensorflow/tfjs-core';
import { type CacheFormat, type CacheWindow, sequenceStruct } from '../cache/cache-format.ts';
import type { RowSource } from '../projection/row-source.ts';
import { each } from '../webgpu/shader-text.ts';
import { splitShader } from './decode-workgroup-shader.ts';
import { LEAST_SPLIT, partSize } from './workgroup-plan.ts';

/** Numbers of workgroup memory that weights of parts may take. */
const MOST_NUMBERS = 1536;

/** Lanes that share the weights of a row, and parts that a lane loads at once. */
const [ROW_LANES, PARTS_AT_ONCE] = [8, 16];

/** Weights that a product of joined parts holds: their number is rounded up, so that a growing cache does not make ever new shaders. */
function heldWeights(batch: number, heads: number, splits: number): number {
  return batch * heads * 2 ** Math.ceil(Math.log2(splits));
}

function heldNumbers(batch: number, heads: number, splits: number): number {
  return 2 * heldWeights(batch, heads, splits) + 2 * ROW_LANES * batch * heads;
}

/** Whether a product can take attended values as parts: with a few of them, whose values fill whole vec4s. */
export function canJoin({ layout }: CacheFormat, batch: number, heads: number, splits: number): boolean {
  return splits > 1 && layout.valueSlotWidth % 4 === 0 && heldNumbers(batch, heads, splits) <= MOST_NUMBERS;
}

/**
 * Attended values that are still in parts, as rows of a product. Every workgroup joins them anew, each part weighted by the exponential
 * of its highest score.
 *
 * @param parts [batch, heads, splits, `partNumbers`]
 */
export function joinedRows(
  parts: TensorInfo,
  sequences: TensorInfo,
  { layout }: CacheFormat,
  window: CacheWindow,
): RowSource {
  const [batch, allHeads, splits] = parts.shape as [number, number, number];
  const { valueSlotWidth } = layout;
  const weights = heldWeights(batch, allHeads, splits);
  return {
    numbers: heldNumbers(batch, allHeads, splits),
    shape: [batch, allHeads, valueSlotWidth, weights, window.window, window.sinks],
    reads: [
      { name: 'parts', type: 'vec4<f32>', tensor: parts },
      { name: 'sequences', type: 'struct Sequence', tensor: sequences },
    ],
    uniforms: [{ name: 'splits', type: 'i32', value: splits }],
    constants: {
      ...{ batch, allHeads, valueSlotWidth, weights, leastSplit: LEAST_SPLIT, rowLanes: ROW_LANES },
      ...partSize(valueSlotWidth),
      ...window,
    },
    code: [sequenceStruct, splitShader, joinShader].join('\n'),
  };
}

const joinShader = `
  /** Of each part its highest score and its sum of weights; then its share of the joined values. */
  var<workgroup> shares: array<vec2<f32>, weights>;
  /** Of each lane that looks at a row: the highest of its parts, and the sum of their weights. */
  var<workgroup> laneHighs: array<f32, batch * allHeads * rowLanes>;
  var<workgroup> laneTotals: array<f32, batch * allHeads * rowLanes>;

  /** Parts in use of a sequence. */
  fn partsOf(sequence: i32) -> i32 {
    let entries = entriesOf(sequences[sequence]);
    let most = entriesOfSplit(entries);
    return (entries + most - 1) / most;
  }

  fn prepareX(local: i32, invocations: i32) {
    for (var part = local; part < batch * allHeads * uniforms.splits; part += invocations) {
      var share = vec2<f32>();
      if (part % uniforms.splits < partsOf(part / (uniforms.splits * allHeads))) {
        share = parts[(part * partNumbers + scoreAt) / 4].xy;
      }
      shares[part] = share;
    }
    let all = batch * allHeads * rowLanes;
    workgroupBarrier();
    for (var lane = local; lane < all; lane += invocations) {
      let begin = lane / rowLanes * uniforms.splits;
      let end = begin + partsOf(lane / (rowLanes * allHeads));
      var high = -3.0e38;
      for (var part = begin + lane % rowLanes; part < end; part += rowLanes) { high = max(high, shares[part].x); }
      laneHighs[lane] = high;
    }
    workgroupBarrier();
    for (var lane = local; lane < all; lane += invocations) {
      let first = lane / rowLanes * rowLanes;
      let begin = lane / rowLanes * uniforms.splits;
      let end = begin + partsOf(lane / (rowLanes * allHeads));
      var high = -3.0e38;
      for (var other = first; other < first + rowLanes; other++) { high = max(high, laneHighs[other]); }
      var total = 0.0;
      for (var part = begin + lane % rowLanes; part < end; part += rowLanes) {
        let share = exp(shares[part].x - high);
        total += share * shares[part].y;
        shares[part].x = share;
      }
      laneTotals[lane] = total;
    }
    workgroupBarrier();
    for (var lane = local; lane < all; lane += invocations) {
      let first = lane / rowLanes * rowLanes;
      let begin = lane / rowLanes * uniforms.splits;
      let end = begin + partsOf(lane / (rowLanes * allHeads));
      var total = 0.0;
      for (var other = first; other < first + rowLanes; other++) { total += laneTotals[other]; }
      let factor = select(0.0, 1.0 / total, total > 0.0);
      for (var part = begin + lane % rowLanes; part < end; part += rowLanes) { shares[part].x *= factor; }
    }
  }

  fn xAt(token: i32, column: i32) -> vec4<f32> {
    var sum = vec4<f32>();
    if (column >= columns) { return sum; }
    let begin = (token * allHeads + column / valueSlotWidth) * uniforms.splits;
    let place = column % valueSlotWidth;
    let end = begin + partsOf(token);
    // Several loads are under way at once.
    for (var first = begin; first < end; first += ${PARTS_AT_ONCE}) {
      ${each(PARTS_AT_ONCE, (n) => `let part${n} = parts[(min(first + ${n}, end - 1) * partNumbers + place) / 4];`)}
      ${each(PARTS_AT_ONCE, (n) => `if (first + ${n} < end) { sum += shares[first + ${n}].x * part${n}; }`)}
    }
    return sum;
  }`;
