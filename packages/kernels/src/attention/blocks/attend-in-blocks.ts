import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { sequenceStruct } from '../../cache/cache-format.ts';
import { traitsOf } from '../../webgpu/device-traits.ts';
import { runProgram } from '../../webgpu/run-program.ts';
import { attentionParts } from '../decode-attention-webgpu.ts';
import { splitShader } from '../decode-workgroup-shader.ts';
import { LEAST_SPLIT, partSize, splitsOf } from '../workgroup-plan.ts';
import type { BlockAttentionAttributes, BlockAttentionInputs, BlockLayout } from './block-attention-host.ts';
import { type BlockCode, blockAttentionSource, blocksOfSplit, headsTogether } from './block-attention-shader.ts';

const noWindow = { window: 0, sinks: 0 };

/** Attention over blocks and entries on WebGPU: a dispatch over the entries, one over the blocks, one that joins both. */
export function attendInBlocksOnGpu(
  gpu: WebGPUBackend,
  { queries, entries, blocks, sequences, rotation }: BlockAttentionInputs,
  { format, entryFormat, exactFirst, longest }: BlockAttentionAttributes<BlockLayout>,
  code: BlockCode,
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
  const splits = splitsOf(32 * places, { heads, headRuns: allHeads / heads, batch }, traitsOf(gpu));
  const [ofBlocks] = runProgram(gpu, {
    name: code.name,
    shape: [...code.shape, allHeads, exactFirst],
    reads: [
      { name: 'queries', type: 'f32', tensor: queries },
      { name: 'blocks', type: 'u32', tensor: blocks },
      { name: 'sequences', type: 'struct Sequence', tensor: sequences },
      { name: 'rotation', type: 'f32', tensor: rotation },
      ...code.reads,
    ],
    writes: [
      { name: 'results', type: 'f32', shape: [batch, allHeads, splits, partSize(width).partNumbers], dtype: 'float32' },
    ],
    uniforms: [
      { name: 'places', type: 'i32', value: places },
      { name: 'splits', type: 'i32', value: splits },
    ],
    workgroups: [allHeads / heads, splits, batch],
    source: () => blockAttentionSource(format, { allHeads, heads, exactFirst }, code),
  });
  return combineParts(gpu, { ofEntries, ofBlocks: ofBlocks!, sequences }, { allHeads, width, batch });
}

/** Joins what was attended to among entries and among blocks, and frees both: [batch, allHeads * width]. */
function combineParts(
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
