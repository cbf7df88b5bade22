import { sequenceStruct } from '../../cache/cache-format.ts';
import { rotationAt } from '../../cache/rotation-table.ts';
import type { GpuRead, GpuShape, GpuSource } from '../../webgpu/program.ts';
import { each as eachOf } from '../../webgpu/shader-text.ts';
import { headsOfOneSlot, partSize } from '../workgroup-plan.ts';
import type { BlockLayout } from './block-attention-host.ts';

/** Lanes of a workgroup: as many as tokens of the blocks that it reads at once. */
const LANES = 128;
/** Numbers of workgroup memory to plan with, and running sums of a lane that stay in registers. */
const [WORKGROUP_NUMBERS, LANE_SUMS] = [3700, 64];

/** How a kind of blocks is read inside attention, as WGSL. All of it knows `slot`, `half` and `slotWidth`. */
export interface BlockCode {
  /** Of the kernel. */
  name: string;
  /** What the source depends on besides the number of heads. */
  shape: GpuShape;
  /** Bindings besides those of all blocks. */
  reads: readonly GpuRead[];
  constants: Record<string, number>;
  declarations: string;
  /** Before the pairs of a key: token \`n\` of the block that begins at word \`at\`. */
  beginKey: string;
  /** The pair \`j\` of the key, not rotated: sets \`u\` and \`v\`. */
  keyPair: string;
  /** An expression: what a token's values are multiplied by. */
  gain: string;
  /** Before the tokens of channel \`c\` of the values, in the block that begins at word \`at\`. */
  beginChannel: string;
  /** An expression: what \`token\` has there. */
  value: string;
  /** Expressions: number \`c\` of the values whose channels' sums are \`sumsOfHead\`, the weights' sum \`total\`; and what it needs before. */
  finish: { before?: string; number: string };
}

/** Query heads of one slot that share a workgroup. */
export function headsTogether({ layout, width }: BlockLayout, allHeads: number): number {
  const most = headsOfOneSlot(layout, allHeads);
  const sums = Math.ceil((4 * width) / LANES);
  const fits = (heads: number) =>
    heads * sums <= LANE_SUMS && heads * (width + LANES + 1) + 5 * width <= WORKGROUP_NUMBERS;
  let heads = most;
  while (heads > 1 && !(most % heads === 0 && fits(heads))) heads--;
  return heads;
}

/** WGSL: blocks of a sequence, and how many of them one split takes. */
export const blocksOfSplit = `
  fn blocksOf(given: Sequence) -> i32 { return select(given.shift / 32, 0, given.added == 0); }
  fn splitSize(blockCount: i32, splitCount: i32) -> i32 { return max(4, (blockCount + splitCount - 1) / splitCount); }`;

/**
 * One workgroup: some query heads of a slot over one split of its blocks, four at a time. Each lane scores a token of its own; then each
 * sums a channel of the values of one of the four blocks. Sums are of channels as they are stored, and become numbers once, at the end.
 */
export function blockAttentionSource(
  { layout, width }: BlockLayout,
  given: { allHeads: number; heads: number; exactFirst: number },
  code: BlockCode,
): GpuSource {
  const each = (text: (h: number) => string) => eachOf(given.heads, text);
  return {
    constants: {
      ...code.constants,
      ...given,
      ...partSize(width),
      half: width / 2,
      headsOfSlot: headsOfOneSlot(layout, given.allHeads),
      lanes: LANES,
      sumsPerLane: Math.ceil((4 * width) / LANES),
    },
    code: `
  ${sequenceStruct}
  ${blocksOfSplit}
  ${rotationAt}
  const least = -3.0e38;
  var<workgroup> query: array<f32, heads * slotWidth>;
  /** Of each head: scores of 128 tokens, then their weights times gains. */
  var<workgroup> weights: array<f32, heads * lanes>;
  /** Sums of four blocks, then of all. */
  var<workgroup> numbers: array<f32, 4 * slotWidth>;
  var<workgroup> sumsOfHead: array<f32, slotWidth>;
  var<workgroup> highs: array<f32, heads>;
  ${code.declarations}

  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let sequence = i32(group.z);
    let firstHead = i32(group.x) * heads;
    let slot = firstHead / headsOfSlot;
    let blockCount = blocksOf(sequences[sequence]);
    let size = splitSize(blockCount, uniforms.splits);
    let firstBlock = i32(group.y) * size;
    let end = min(blockCount, firstBlock + size);
    // Of several splits those without blocks are not looked at.
    if (firstBlock >= end) { return; }
    for (var i = lane; i < heads * slotWidth; i += lanes) {
      query[i] = queries[(sequence * allHeads + firstHead) * slotWidth + i];
    }
    ${each((h) => `var high${h} = least; var total${h} = 0.0; var sums${h} = array<f32, sumsPerLane>();`)}

    for (var four = firstBlock; four < end; four += 4) {
      workgroupBarrier();
      let block = min(four + lane / 32, end - 1);
      let n = lane % 32;
      let isThere = four + lane / 32 < end;
      let at = (sequence * uniforms.places + block) * blockWords;
      let position = exactFirst + 32 * block + n;
      ${code.beginKey}
      ${each((h) => `var s${h} = 0.0;`)}
      for (var j = 0; j < half; j++) {
        var u: f32;
        var v: f32;
        ${code.keyPair}
        let r = rotationAt(position, j);
        let first = u * r.x - v * r.y;
        let second = v * r.x + u * r.y;
        ${each((h) => `s${h} += query[${h} * slotWidth + j] * first + query[${h} * slotWidth + half + j] * second;`)}
      }
      let gain = ${code.gain};
      ${each((h) => `weights[${h} * lanes + lane] = select(least, s${h}, isThere);`)}
      workgroupBarrier();
      for (var h = lane; h < heads; h += lanes) {
        var high = least;
        for (var other = 0; other < lanes; other++) { high = max(high, weights[h * lanes + other]); }
        highs[h] = high;
      }
      workgroupBarrier();
      ${each(
        (h) => `
      let before${h} = high${h};
      high${h} = max(before${h}, highs[${h}]);
      let shrink${h} = exp(before${h} - high${h});
      let weight${h} = select(0.0, exp(s${h} - high${h}), isThere);
      // Each lane's own; they are added at the end.
      total${h} = total${h} * shrink${h} + weight${h};
      weights[${h} * lanes + lane] = weight${h} * gain;`,
      )}
      workgroupBarrier();
      for (var i = 0; i < sumsPerLane; i++) {
        let item = lane + i * lanes;
        let q = item / slotWidth;
        let c = item % slotWidth;
        ${each((h) => `sums${h}[i] *= shrink${h};`)}
        if (q < min(4, end - four)) {
          let at = (sequence * uniforms.places + four + q) * blockWords;
          ${code.beginChannel}
          for (var token = 0; token < 32; token++) {
            let value = ${code.value};
            ${each((h) => `sums${h}[i] += weights[${h} * lanes + 32 * q + token] * value;`)}
          }
        }
      }
    }
    ${each(
      (h) => `
    workgroupBarrier();
    weights[lane] = total${h};
    for (var i = 0; i < sumsPerLane; i++) {
      let item = lane + i * lanes;
      if (item < 4 * slotWidth) { numbers[item] = sums${h}[i]; }
    }
    workgroupBarrier();
    for (var c = lane; c < slotWidth; c += lanes) {
      sumsOfHead[c] = numbers[c] + numbers[slotWidth + c] + numbers[2 * slotWidth + c] + numbers[3 * slotWidth + c];
    }
    workgroupBarrier();
    {
      let begin = ((sequence * allHeads + firstHead + ${h}) * uniforms.splits + i32(group.y)) * partNumbers;
      var total = 0.0;
      for (var other = 0; other < lanes; other++) { total += weights[other]; }
      for (var c = lane; c < slotWidth; c += lanes) {
        ${code.finish.before ?? ''}
        results[begin + c] = ${code.finish.number};
      }
      if (lane == 0) {
        results[begin + scoreAt] = high${h};
        results[begin + scoreAt + 1] = total;
      }
    }`,
    )}
  }`,
  };
}
