import { hadamardSize } from '@kvlr/cache';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { type BlockFormat, blockShape } from '../../cache/blocks/block-format.ts';
import { blockConstants, codeReader, hadamardShader, levelShader } from '../../cache/blocks/block-shader.ts';
import { sequenceStruct } from '../../cache/cache-format.ts';
import { rotationAt } from '../../cache/rotation-table.ts';
import { traitsOf } from '../../webgpu/device-traits.ts';
import type { GpuSource } from '../../webgpu/program.ts';
import { runProgram } from '../../webgpu/run-program.ts';
import { attentionParts } from '../decode-attention-webgpu.ts';
import { splitShader } from '../decode-workgroup-shader.ts';
import { headsOfOneSlot, LEAST_SPLIT, partSize, splitsOf } from '../workgroup-plan.ts';
import type { BlockAttentionAttributes, BlockAttentionInputs } from './block-attention-host.ts';

/** Lanes of a workgroup: as many as tokens of the blocks that it reads at once. */
export const LANES = 128;
/** Numbers of workgroup memory to plan with, and running sums of a lane that stay in registers. */
const [WORKGROUP_NUMBERS, LANE_SUMS] = [3700, 64];
const noWindow = { window: 0, sinks: 0 };

/** The body of attention over blocks and entries on WebGPU: a dispatch over the entries, one over the blocks, one that joins both. */
export function attendBlocksOnGpu(
  gpu: WebGPUBackend,
  { queries, entries, blocks, sequences, rotation }: BlockAttentionInputs,
  { format, entryFormat, exactFirst, longest }: BlockAttentionAttributes,
): TensorInfo {
  const [batch, , allHeads] = queries.shape as [number, number, number];
  const { width } = format;
  const ofEntries = attentionParts(
    gpu,
    { queries, cache: entries, sequences },
    { format: entryFormat, window: noWindow, longest },
  );
  const heads = headsTogether(format, allHeads);
  const places = blocks.shape[1]!;
  const splits = splitsOf(32 * places, allHeads / heads, batch, traitsOf(gpu));
  const [ofBlocks] = runProgram(gpu, {
    name: 'block_attention',
    shape: [...blockShape(format), allHeads, exactFirst],
    reads: [
      { name: 'queries', type: 'f32', tensor: queries },
      { name: 'blocks', type: 'u32', tensor: blocks },
      { name: 'sequences', type: 'struct Sequence', tensor: sequences },
      { name: 'rotation', type: 'f32', tensor: rotation },
    ],
    writes: [
      { name: 'results', type: 'f32', shape: [batch, allHeads, splits, partSize(width).partNumbers], dtype: 'float32' },
    ],
    uniforms: [
      { name: 'places', type: 'i32', value: places },
      { name: 'splits', type: 'i32', value: splits },
    ],
    workgroups: [allHeads / heads, splits, batch],
    source: () => blockSource(format, { allHeads, heads, exactFirst }),
  });
  return combineParts(gpu, { ofEntries, ofBlocks: ofBlocks!, sequences }, { allHeads, width, batch });
}

/** Joins what was attended to among entries and among blocks, and frees both: [batch, allHeads * width]. */
export function combineParts(
  gpu: WebGPUBackend,
  { ofEntries, ofBlocks, sequences }: Record<'ofEntries' | 'ofBlocks' | 'sequences', TensorInfo>,
  { allHeads, width, batch }: Record<'allHeads' | 'width' | 'batch', number>,
): TensorInfo {
  const [attended] = runProgram(gpu, {
    name: 'combine_block_attention',
    shape: [allHeads, width],
    reads: [
      { name: 'ofEntries', type: 'f32', tensor: ofEntries },
      { name: 'ofBlocks', type: 'f32', tensor: ofBlocks },
      { name: 'sequences', type: 'struct Sequence', tensor: sequences },
    ],
    writes: [{ name: 'results', type: 'f32', shape: [batch, allHeads * width], dtype: 'float32' }],
    uniforms: [
      { name: 'splits', type: 'i32', value: ofEntries.shape[2]! },
      { name: 'blockSplits', type: 'i32', value: ofBlocks.shape[2]! },
    ],
    workgroups: [allHeads, batch],
    source: () => ({
      constants: { allHeads, width, leastSplit: LEAST_SPLIT, ...partSize(width), ...noWindow },
      code: [sequenceStruct, splitShader, blocksOfSplit, combine].join('\n'),
    }),
  });
  for (const parts of [ofEntries, ofBlocks]) gpu.disposeData(parts.dataId);
  return attended!;
}

/** Query heads of one slot that share a workgroup. */
export function headsTogether({ layout, width }: Pick<BlockFormat, 'layout' | 'width'>, allHeads: number): number {
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
 * sums a channel of the values of one of the four blocks. Sums are of rotated values, and are rotated back at the end.
 */
function blockSource(format: BlockFormat, given: { allHeads: number; heads: number; exactFirst: number }): GpuSource {
  const each = (text: (h: number) => string) => Array.from({ length: given.heads }, (_, h) => text(h)).join('\n');
  const sumsPerLane = Math.ceil((4 * format.width) / LANES);
  return {
    constants: {
      ...blockConstants(format),
      ...given,
      ...partSize(format.width),
      headsOfSlot: headsOfOneSlot(format.layout, given.allHeads),
      lanes: LANES,
      sumsPerLane,
      hadamardSize: hadamardSize(format.width),
    },
    code: `
  ${sequenceStruct}
  ${blocksOfSplit}
  ${rotationAt}
  ${codeReader(format)}
  ${levelShader(format)}
  const least = -3.0e38;
  var<workgroup> query: array<f32, heads * slotWidth>;
  /** Of each head: scores of 128 tokens, then their weights times gains. */
  var<workgroup> weights: array<f32, heads * lanes>;
  /** Sums of four blocks, then of all. */
  var<workgroup> numbers: array<f32, 4 * slotWidth>;
  var<workgroup> sumsOfHead: array<f32, slotWidth>;
  var<workgroup> highs: array<f32, heads>;
  fn numberAt(c: i32) -> f32 { return sumsOfHead[c]; }
  ${hadamardShader}

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
      let block = four + lane / 32;
      let n = lane % 32;
      let isThere = block < end;
      let at = (sequence * uniforms.places + min(block, end - 1)) * blockWords + slot * slotWords;
      let position = exactFirst + 32 * min(block, end - 1) + n;
      ${each((h) => `var s${h} = 0.0;`)}
      for (var j = 0; j < half; j++) {
        let firstHeader = unpack2x16float(blocks[at + j]);
        let secondHeader = unpack2x16float(blocks[at + j + half]);
        let u = firstHeader.y + firstHeader.x * f32(codeAt(at + keyCodes + j * codeWords, n));
        let v = secondHeader.y + secondHeader.x * f32(codeAt(at + keyCodes + (j + half) * codeWords, n));
        let r = rotationAt(position, j);
        let first = u * r.x - v * r.y;
        let second = v * r.x + u * r.y;
        ${each((h) => `s${h} += query[${h} * slotWidth + j] * first + query[${h} * slotWidth + half + j] * second;`)}
      }
      let gain = unpack2x16float(blocks[at + gains + n / 2])[n % 2];
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
        ${each((h) => `sums${h}[i] *= shrink${h};`)}
        if (q < min(4, end - four)) {
          let codes = (sequence * uniforms.places + four + q) * blockWords + slot * slotWords
            + valueCodes + (item % slotWidth) * codeWords;
          for (var token = 0; token < 32; token++) {
            let level = levelOf(codeAt(codes, token));
            ${each((h) => `sums${h}[i] += weights[${h} * lanes + 32 * q + token] * level;`)}
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
      for (var c = lane; c < slotWidth; c += lanes) { results[begin + c] = hadamardAt(c); }
      if (lane == 0) {
        var total = 0.0;
        for (var other = 0; other < lanes; other++) { total += weights[other]; }
        results[begin + scoreAt] = high${h};
        results[begin + scoreAt + 1] = total;
      }
    }`,
    )}
  }`,
  };
}

/** Joins the parts of one head: weights each by the exponential of its highest score. */
const combine = `
  const lanes = 64;

  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let row = i32(group.y) * allHeads + i32(group.x);
    let given = sequences[group.y];
    let entries = entriesOf(given);
    let most = entriesOfSplit(entries);
    let used = (entries + most - 1) / most;
    let blockCount = blocksOf(given);
    let size = splitSize(blockCount, uniforms.blockSplits);
    let usedOfBlocks = (blockCount + size - 1) / size;
    let firstPart = row * uniforms.splits * partNumbers;
    let firstOfBlocks = row * uniforms.blockSplits * partNumbers;
    var high = -3.0e38;
    for (var split = 0; split < used; split++) { high = max(high, ofEntries[firstPart + split * partNumbers + scoreAt]); }
    for (var split = 0; split < usedOfBlocks; split++) { high = max(high, ofBlocks[firstOfBlocks + split * partNumbers + scoreAt]); }
    for (var c = i32(index); c < width; c += lanes) {
      var sum = 0.0;
      var total = 0.0;
      for (var split = 0; split < used; split++) {
        let at = firstPart + split * partNumbers;
        let weight = exp(ofEntries[at + scoreAt] - high);
        sum += weight * ofEntries[at + c];
        total += weight * ofEntries[at + scoreAt + 1];
      }
      for (var split = 0; split < usedOfBlocks; split++) {
        let at = firstOfBlocks + split * partNumbers;
        let weight = exp(ofBlocks[at + scoreAt] - high);
        sum += weight * ofBlocks[at + c];
        total += weight * ofBlocks[at + scoreAt + 1];
      }
      results[row * width + c] = select(0.0, sum / total, total > 0.0);
    }
  }`;
