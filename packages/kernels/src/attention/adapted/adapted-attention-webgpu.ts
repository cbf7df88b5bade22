import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { AdaptedFormat } from '../../cache/adapted/adapted-format.ts';
import { adaptedConstants, adaptedReader, tableReader } from '../../cache/adapted/adapted-shader.ts';
import { sequenceStruct } from '../../cache/cache-format.ts';
import { rotationAt } from '../../cache/rotation-table.ts';
import { traitsOf } from '../../webgpu/device-traits.ts';
import type { GpuSource } from '../../webgpu/program.ts';
import { runProgram } from '../../webgpu/run-program.ts';
import { blocksOfSplit, combineParts, headsTogether, LANES } from '../blocks/block-attention-webgpu.ts';
import { attentionParts } from '../decode-attention-webgpu.ts';
import { headsOfOneSlot, partSize, splitsOf } from '../workgroup-plan.ts';
import type { AdaptedAttentionAttributes, AdaptedAttentionInputs } from './adapted-attention-host.ts';

/** The body on WebGPU: a dispatch over the entries, one over the blocks, one that joins both. */
export function attendAdaptedOnGpu(
  gpu: WebGPUBackend,
  { queries, entries, blocks, sequences, rotation, tables }: AdaptedAttentionInputs,
  { format, entryFormat, exactFirst, longest }: AdaptedAttentionAttributes,
): TensorInfo {
  const [batch, , allHeads] = queries.shape as [number, number, number];
  const { width } = format;
  const ofEntries = attentionParts(
    gpu,
    { queries, cache: entries, sequences },
    { format: entryFormat, window: { window: 0, sinks: 0 }, longest },
  );
  const heads = headsTogether(format, allHeads);
  const places = blocks.shape[1]!;
  const splits = splitsOf(32 * places, allHeads / heads, batch, traitsOf(gpu));
  const [ofBlocks] = runProgram(gpu, {
    name: 'adapted_attention',
    shape: [format.dtype, format.slots, width, format.blockWords, allHeads, exactFirst],
    reads: [
      { name: 'queries', type: 'f32', tensor: queries },
      { name: 'blocks', type: 'u32', tensor: blocks },
      { name: 'sequences', type: 'struct Sequence', tensor: sequences },
      { name: 'rotation', type: 'f32', tensor: rotation },
      { name: 'tables', type: 'u32', tensor: tables },
    ],
    writes: [
      { name: 'results', type: 'f32', shape: [batch, allHeads, splits, partSize(width).partNumbers], dtype: 'float32' },
    ],
    uniforms: [
      { name: 'places', type: 'i32', value: places },
      { name: 'splits', type: 'i32', value: splits },
    ],
    workgroups: [allHeads / heads, splits, batch],
    source: () => adaptedSource(format, { allHeads, heads, exactFirst }),
  });
  return combineParts(gpu, { ofEntries, ofBlocks: ofBlocks!, sequences }, { allHeads, width, batch });
}

/**
 * One workgroup: some query heads of a slot over one split of its blocks, four at a time. Each lane makes and scores the key of a token of its
 * own; then each sums the levels of a channel of the values in one of the four blocks. Sums become numbers once, at the end.
 */
function adaptedSource(
  format: AdaptedFormat,
  given: { allHeads: number; heads: number; exactFirst: number },
): GpuSource {
  const each = (text: (h: number) => string) => Array.from({ length: given.heads }, (_, h) => text(h)).join('\n');
  return {
    constants: {
      ...adaptedConstants(format),
      ...given,
      ...partSize(format.width),
      half: format.width / 2,
      headsOfSlot: headsOfOneSlot(format.layout, given.allHeads),
      lanes: LANES,
      sumsPerLane: Math.ceil((4 * format.width) / LANES),
    },
    code: `
  ${sequenceStruct}
  ${blocksOfSplit}
  ${rotationAt}
  ${tableReader}
  ${adaptedReader}
  const least = -3.0e38;
  var<workgroup> query: array<f32, heads * slotWidth>;
  var<workgroup> weights: array<f32, heads * lanes>;
  /** Sums of four blocks, then of all. */
  var<workgroup> numbers: array<f32, 4 * slotWidth>;
  var<workgroup> sumsOfHead: array<f32, slotWidth>;
  var<workgroup> highs: array<f32, heads>;

  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let sequence = i32(group.z);
    let firstHead = i32(group.x) * heads;
    let slot = firstHead / headsOfSlot;
    let ofKeys = slot * sideWords;
    let ofValues = (slots + slot) * sideWords;
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
      var levels = array<f32, slotWidth>();
      var channels = 0;
      for (var c = 0; c < slotWidth; c++) {
        let channel = tables[ofKeys + c];
        if (bitsOf(channel) == 0) { break; }
        levels[c] = levelAt(at + wordOf(channel), bitsOf(channel), n);
        channels = c + 1;
      }
      ${each((h) => `var s${h} = 0.0;`)}
      for (var j = 0; j < half; j++) {
        var u = tableAt(ofKeys + meanAt + j);
        var v = tableAt(ofKeys + meanAt + j + half);
        let row = ofKeys + backwardAt + j * slotWidth;
        for (var c = 0; c < channels; c++) {
          u += tableAt(row + c) * levels[c];
          v += tableAt(row + half * slotWidth + c) * levels[c];
        }
        let r = rotationAt(position, j);
        let first = u * r.x - v * r.y;
        let second = v * r.x + u * r.y;
        ${each((h) => `s${h} += query[${h} * slotWidth + j] * first + query[${h} * slotWidth + half + j] * second;`)}
      }
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
      weights[${h} * lanes + lane] = weight${h};`,
      )}
      workgroupBarrier();
      for (var i = 0; i < sumsPerLane; i++) {
        let item = lane + i * lanes;
        let q = item / slotWidth;
        ${each((h) => `sums${h}[i] *= shrink${h};`)}
        if (q < min(4, end - four)) {
          let channel = tables[ofValues + item % slotWidth];
          let bits = bitsOf(channel);
          let codes = (sequence * uniforms.places + four + q) * blockWords + wordOf(channel);
          for (var token = 0; token < 32 && bits > 0; token++) {
            let level = levelAt(codes, bits, token);
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
      var total = 0.0;
      for (var other = 0; other < lanes; other++) { total += weights[other]; }
      for (var i = lane; i < slotWidth; i += lanes) {
        var x = total * tableAt(ofValues + meanAt + i);
        for (var c = 0; c < slotWidth; c++) { x += tableAt(ofValues + backwardAt + i * slotWidth + c) * sumsOfHead[c]; }
        results[begin + i] = x;
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
