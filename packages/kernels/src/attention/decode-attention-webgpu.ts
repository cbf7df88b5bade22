import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { TensorInfo } from '@tensorflow/tfjs-core';
import { type CacheFormat, type CacheWindow, formatShape, sequenceStruct } from '../cache/cache-format.ts';
import { type AppendAttributes, type AppendInputs, appendSizes } from '../cache/rotate-and-append-host.ts';
import { traitsOf } from '../webgpu/device-traits.ts';
import type { GpuProgram, GpuShape } from '../webgpu/program.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { AttentionAttributes, AttentionInputs } from './attention-host.ts';
import { type DecodeCase, decodeSource } from './decode-attention-shader.ts';
import { splitShader } from './decode-workgroup-shader.ts';
import {
  DECODE_LANES,
  LEAST_SPLIT,
  MOST_SPLITS,
  partSize,
  planDecode,
  splitsOf,
  wordsAtOnce,
} from './workgroup-plan.ts';

/** The body of `decodeAttention` on WebGPU: one dispatch for a short cache, else one and another that joins its parts. */
export function decodeAttentionOnGpu(
  gpu: WebGPUBackend,
  inputs: AttentionInputs,
  { format, window }: AttentionAttributes,
): TensorInfo {
  const [, variants, numAttentionHeads] = inputs.queries.shape as [number, number, number];
  return attend(gpu, inputs, { format, window, variants, numAttentionHeads }, withQueries(inputs, format));
}

/** The first dispatch of it alone: parts of the sums of each head, [batch, heads, splits, `partNumbers`], to be joined. */
export function attentionParts(
  gpu: WebGPUBackend,
  inputs: AttentionInputs,
  { format, window }: AttentionAttributes,
): TensorInfo {
  const [, variants, numAttentionHeads] = inputs.queries.shape as [number, number, number];
  const sizes = { format, window, variants, numAttentionHeads };
  return attendInSplits(
    gpu,
    inputs,
    sizes,
    splitsOfCache(gpu, inputs.cache, sizes),
    false,
    withQueries(inputs, format),
  );
}

/** Lanes of a workgroup that joins the parts of a head: as many as there are parts at most. */
const COMBINE_LANES = MOST_SPLITS;

type Complete = (program: GpuProgram & Required<Pick<GpuProgram, 'uniforms'>>) => GpuProgram;

/** Binds queries that are rotated already. */
function withQueries({ queries, cache }: AttentionInputs, format: CacheFormat): Complete {
  return (program) => ({
    ...program,
    reads: [
      { name: 'queries', type: 'f32', tensor: queries },
      { ...cacheBinding(format), tensor: cache },
      ...program.reads,
    ],
  });
}

function cacheBinding(format: CacheFormat) {
  return { name: 'cache', type: wordsAtOnce(format) === 4 ? 'vec4<u32>' : 'u32' } as const;
}

/** Whether decode attention has room to rotate and append as well: keys as they are, in slots that are not too wide. */
export function attentionAppends({ format, numAttentionHeads }: AppendAttributes, variants: number): boolean {
  return format.layout.keys === 'stock' && planDecode(format, numAttentionHeads, variants).canAppend;
}

/** `rotateAndAppend` of one new token of each sequence and `decodeAttention` in one. */
export function appendAndAttendOnGpu(
  gpu: WebGPUBackend,
  inputs: AppendInputs,
  attributes: AppendAttributes,
): TensorInfo {
  return attend(gpu, inputs, appendingSizes(inputs, attributes), withRows(inputs, attributes));
}

/** The first dispatch of it alone, as `attentionParts`. */
export function appendAndAttendParts(
  gpu: WebGPUBackend,
  inputs: AppendInputs,
  attributes: AppendAttributes,
): TensorInfo {
  const sizes = appendingSizes(inputs, attributes);
  const splits = splitsOfCache(gpu, inputs.cache, sizes);
  return attendInSplits(gpu, inputs, sizes, splits, false, withRows(inputs, attributes));
}

function appendingSizes(inputs: AppendInputs, attributes: AppendAttributes): DecodeSizes {
  const { format, window, numAttentionHeads, headDim } = attributes;
  const { variants, keyWidth, rowWidth } = appendSizes(inputs, attributes);
  return { format, window, variants, numAttentionHeads, appends: { headDim, keyWidth, rowWidth } };
}

/** Binds rows of q, k and v, and the cache to be written. */
function withRows(inputs: AppendInputs, { format, headDim }: AppendAttributes): Complete {
  return (program) => ({
    ...program,
    reads: [
      { name: 'projected', type: 'f32', tensor: inputs.projected },
      { name: 'rotation', type: 'f32', tensor: inputs.rotation },
      ...program.reads,
    ],
    writes: [{ ...cacheBinding(format), tensor: inputs.cache }, ...program.writes],
    uniforms: [...program.uniforms, { name: 'scale', type: 'f32', value: 1 / Math.sqrt(headDim) }],
  });
}

interface DecodeSizes {
  format: CacheFormat;
  window: CacheWindow;
  variants: number;
  numAttentionHeads: number;
  appends?: DecodeCase['appends'];
}

type CacheInputs = Pick<AttentionInputs, 'cache' | 'sequences'>;

/** Parts of a cache. Of the whole one, so that a step is the same at every length: workgroups behind it leave at once. */
export function splitsOfCache(
  gpu: WebGPUBackend,
  cache: TensorInfo,
  { format, variants, numAttentionHeads }: Omit<DecodeSizes, 'window'>,
): number {
  const [batch, capacity] = cache.shape as [number, number];
  const { heads } = planDecode(format, numAttentionHeads, variants);
  return splitsOf(capacity, { heads, headRuns: numAttentionHeads / heads, batch }, traitsOf(gpu));
}

/** Runs attention over a cache with the bindings that `complete` adds, and joins its parts. */
function attend(gpu: WebGPUBackend, inputs: CacheInputs, sizes: DecodeSizes, complete: Complete): TensorInfo {
  const { format, window, numAttentionHeads } = sizes;
  const splits = splitsOfCache(gpu, inputs.cache, sizes);
  const results = attendInSplits(gpu, inputs, sizes, splits, splits === 1, complete);
  if (splits === 1) return results;
  const batch = inputs.cache.shape[0]!;
  const { valueSlotWidth } = format.layout;
  const [combined] = runProgram(gpu, {
    name: 'combine_attention',
    shape: [numAttentionHeads, valueSlotWidth, window.window, window.sinks],
    reads: [
      { name: 'parts', type: 'vec4<f32>', tensor: results },
      { name: 'sequences', type: 'struct Sequence', tensor: inputs.sequences },
    ],
    writes: [{ name: 'results', type: 'f32', shape: [batch, numAttentionHeads * valueSlotWidth], dtype: 'float32' }],
    uniforms: [{ name: 'splits', type: 'i32', value: splits }],
    workgroups: [numAttentionHeads, batch],
    source: () => ({
      constants: {
        ...{ allHeads: numAttentionHeads, valueSlotWidth, leastSplit: LEAST_SPLIT },
        ...partSize(valueSlotWidth),
        ...window,
        columnLanes: Math.min(COMBINE_LANES, 2 ** Math.ceil(Math.log2(valueSlotWidth / 4))),
      },
      code: [sequenceStruct, splitShader, combineParts].join('\n'),
    }),
  });
  gpu.disposeData(results.dataId);
  return combined!;
}

/** One dispatch: the attended values where it is `single`, else the parts [batch, heads, splits, `partNumbers`]. */
function attendInSplits(
  gpu: WebGPUBackend,
  { cache, sequences }: CacheInputs,
  { format, window, variants, numAttentionHeads, appends }: DecodeSizes,
  splits: number,
  single: boolean,
  complete: Complete,
): TensorInfo {
  const [batch, capacity] = cache.shape as [number, number];
  const { valueSlotWidth } = format.layout;
  const plan = planDecode(format, numAttentionHeads, variants);
  const ofDevice = Math.min(traitsOf(gpu).subgroup, DECODE_LANES);
  const subgroup = ofDevice >= plan.team ? ofDevice : 0;
  const given: DecodeCase = { allHeads: numAttentionHeads, variants, ...window, single, subgroup, appends };
  const shape: GpuShape = [
    ...formatShape(format),
    ...[numAttentionHeads, variants, window.window, window.sinks, single, subgroup],
    ...(appends ? [appends.headDim, appends.keyWidth, appends.rowWidth] : []),
  ];
  const resultShape = [batch, numAttentionHeads * valueSlotWidth];
  const partialShape = [batch, numAttentionHeads, splits, partSize(valueSlotWidth).partNumbers];
  return runProgram(
    gpu,
    complete({
      name: appends ? 'append_and_attend' : 'decode_attention',
      shape,
      reads: [{ name: 'sequences', type: 'struct Sequence', tensor: sequences }],
      writes: [{ name: 'results', type: 'f32', shape: single ? resultShape : partialShape, dtype: 'float32' }],
      uniforms: [
        { name: 'capacity', type: 'i32', value: capacity },
        { name: 'splits', type: 'i32', value: splits },
      ],
      workgroups: [numAttentionHeads / plan.heads, splits, batch],
      source: () => decodeSource(format, plan, given),
    }),
  ).at(-1)!;
}

/**
 * Joins the parts of one head: weights each by the exponential of its highest score. Some lanes take the columns, four at a time, of
 * some of the parts each.
 */
const combineParts = `
  const lanes = ${COMBINE_LANES};
  var<workgroup> weights: array<f32, lanes>;
  var<workgroup> reduced: array<f32, lanes>;
  var<workgroup> sums: array<vec4<f32>, lanes>;

  @compute @workgroup_size(lanes)
  fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let lane = i32(index);
    let row = i32(group.y) * allHeads + i32(group.x);
    let entries = entriesOf(sequences[group.y]);
    let most = entriesOfSplit(entries);
    let used = (entries + most - 1) / most;
    let begin = row * uniforms.splits * partNumbers;
    var part = vec4<f32>(-3.0e38, 0.0, 0.0, 0.0);
    if (lane < used) { part = parts[(begin + lane * partNumbers + scoreAt) / 4]; }
    reduced[lane] = part.x;
    for (var step = lanes / 2; step > 0; step /= 2) {
      workgroupBarrier();
      if (lane < step) { reduced[lane] = max(reduced[lane], reduced[lane + step]); }
    }
    workgroupBarrier();
    let weight = select(0.0, exp(part.x - reduced[0]), lane < used);
    workgroupBarrier();
    weights[lane] = weight;
    reduced[lane] = weight * part.y;
    for (var step = lanes / 2; step > 0; step /= 2) {
      workgroupBarrier();
      if (lane < step) { reduced[lane] += reduced[lane + step]; }
    }
    workgroupBarrier();
    let total = reduced[0];
    let team = lane / columnLanes;
    for (var block = 0; block < scoreAt / 4; block += columnLanes) {
      let column = block + lane % columnLanes;
      var sum = vec4<f32>();
      if (column < scoreAt / 4) {
        for (var split = team; split < used; split += lanes / columnLanes) {
          sum += weights[split] * parts[(begin + split * partNumbers) / 4 + column];
        }
      }
      sums[lane] = sum;
      for (var step = lanes / 2; step >= columnLanes; step /= 2) {
        workgroupBarrier();
        if (lane < step) { sums[lane] += sums[lane + step]; }
      }
      workgroupBarrier();
      if (team == 0) {
        let joined = select(vec4<f32>(), sums[lane] / total, total > 0.0);
        for (var c = 0; c < 4; c++) {
          if (4 * column + c < valueSlotWidth) { results[row * valueSlotWidth + 4 * column + c] = joined[c]; }
        }
      }
      workgroupBarrier();
    }
  }`;
