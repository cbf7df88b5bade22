import type { TensorInfo } from '@tensorflow/tfjs-core';
import { type CacheFormat, type CacheWindow, sequenceStruct } from '../cache/cache-format.ts';
import type { RowSource } from '../projection/row-source.ts';
import { splitShader } from './decode-workgroup-shader.ts';
import { LEAST_SPLIT, partSize } from './workgroup-plan.ts';

/** Weights of parts that a workgroup holds at most. */
const MOST_WEIGHTS = 640;

/** Weights that a product of joined parts holds: their number is rounded up, so that a growing cache does not make ever new shaders. */
function heldWeights(batch: number, heads: number, splits: number): number {
  return batch * heads * 2 ** Math.ceil(Math.log2(splits));
}

/** Whether a product can take attended values as parts: with a few of them, whose values fill whole vec4s. */
export function canJoin({ layout }: CacheFormat, batch: number, heads: number, splits: number): boolean {
  return splits > 1 && layout.valueSlotWidth % 4 === 0 && heldWeights(batch, heads, splits) <= MOST_WEIGHTS;
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
    numbers: 2 * weights,
    shape: [batch, allHeads, valueSlotWidth, weights, window.window, window.sinks],
    reads: [
      { name: 'parts', type: 'vec4<f32>', tensor: parts },
      { name: 'sequences', type: 'struct Sequence', tensor: sequences },
    ],
    uniforms: [{ name: 'splits', type: 'i32', value: splits }],
    constants: {
      ...{ batch, allHeads, valueSlotWidth, weights, leastSplit: LEAST_SPLIT },
      ...partSize(valueSlotWidth),
      ...window,
    },
    code: [sequenceStruct, splitShader, joinShader].join('\n'),
  };
}

const joinShader = `
  /** Of each part its highest score and its sum of weights; then its share of the joined values. */
  var<workgroup> shares: array<vec2<f32>, weights>;

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
    workgroupBarrier();
    for (var row = local; row < batch * allHeads; row += invocations) {
      let begin = row * uniforms.splits;
      let end = begin + partsOf(row / allHeads);
      var high = -3.0e38;
      for (var part = begin; part < end; part++) { high = max(high, shares[part].x); }
      var total = 0.0;
      for (var part = begin; part < end; part++) {
        let share = exp(shares[part].x - high);
        total += share * shares[part].y;
        shares[part].x = share;
      }
      let factor = select(0.0, 1.0 / total, total > 0.0);
      for (var part = begin; part < end; part++) { shares[part].x *= factor; }
    }
  }

  fn xAt(token: i32, column: i32) -> vec4<f32> {
    var sum = vec4<f32>();
    if (column >= columns) { return sum; }
    let begin = (token * allHeads + column / valueSlotWidth) * uniforms.splits;
    let place = column % valueSlotWidth;
    let end = begin + partsOf(token);
    for (var part = begin; part < end; part++) {
      sum += shares[part].x * parts[(part * partNumbers + place) / 4];
    }
    return sum;
  }`;
