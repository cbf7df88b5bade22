import type { DecoderShape, TapName } from '@kvlr/core';
import { gatedFeedForward, project as multiply, normProject, projectAdd } from '@kvlr/kernels';
import { mul, slice, sub, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import type { HeadRows } from '../blocks/attention-block.ts';
import { decoderLayer } from '../blocks/decoder-layer.ts';
import { fusedKernelsFit, kernelActivations } from '../blocks/fused-kernels-fit.ts';
import { activate, normByRole, type Project } from '../blocks/operations.ts';
import type { CacheStep } from '../cache/cache-step.ts';
import { attendBehindCache, fusedAttentionFits } from '../cache/cached-attention.ts';
import type { PackedParts, PackedWeights } from './packed-weights.ts';

/** What fused attention needs of a step. */
export type FusedCacheStep = Pick<CacheStep, 'cache'> & Required<Pick<CacheStep, 'attendAndProject'>>;

/** What one layer computed over new tokens. */
export interface PackedLayerRun {
  /** The stream after the layer. */
  after: Tensor2D;
  /** What the taps of core's `LayerActivations` show, a tensor of its own. */
  tap(name: TapName): Tensor;
}

/** One layer over new tokens behind a cache. Call inside tf.tidy. */
export function runPackedLayer(
  stream: Tensor2D,
  weights: PackedWeights,
  layer: number,
  step: CacheStep,
): PackedLayerRun {
  if (fusedKernelsFit(step.cache.shape)) return runFusedLayer(stream, weights, layer, step);
  const parts = weights.layers[layer]!;
  const { shape } = step.cache;
  const { after, stages } = decoderLayer(stream, parts.tensors, {
    shape,
    layer,
    project: projectPacked(parts, shape, layer),
    attend: (rows) => attendBehindCache(rows, parts.tensors, layer, step, weights.rotations[layer]!),
  });
  return { after, tap: (name) => (name === 'stream' ? stream : stages[name]).clone() };
}

/** The projections of a layer's packed matrices. q, k and v are one product, which is kept for as long as x is the same. */
function projectPacked(parts: PackedParts, shape: DecoderShape, layer: number): Project {
  const { matrices, tensors } = parts;
  let split: { x: Tensor2D; rows: HeadRows } | undefined;
  return (x, projection) => {
    if (projection !== 'query' && projection !== 'key' && projection !== 'value') {
      return multiply(x, matrices[projection]!, tensors[`${projection}Bias`]) as Tensor2D;
    }
    if (split?.x !== x) {
      const projected = multiply(x, matrices.queryKeyValue!, tensors.queryKeyValueBias) as Tensor2D;
      split = { x, rows: splitProjected(projected, shape, layer) };
    }
    return split.rows[projection];
  };
}

function splitProjected(projected: Tensor2D, shape: DecoderShape, layer: number): HeadRows {
  const { valueSlots, valueSlotWidth } = shape.layers[layer]!.cache;
  const [rows, width] = projected.shape;
  const queryWidth = shape.numAttentionHeads * shape.headDim;
  const valueWidth = valueSlots * valueSlotWidth;
  const columns = (from: number, count: number) => slice(projected, [0, from], [rows, count]);
  return {
    query: columns(0, queryWidth),
    key: columns(queryWidth, width - queryWidth - valueWidth),
    value: columns(width - valueWidth, valueWidth),
  };
}

/** The stream after one layer alone, where nobody taps it: then one token of each sequence may attend and be projected at once. */
export function streamAfterLayer(
  stream: Tensor2D,
  weights: PackedWeights,
  layer: number,
  step: CacheStep | FusedCacheStep,
): Tensor2D {
  const { shape } = step.cache;
  const { attendAndProject } = step;
  const isPlain = fusedKernelsFit(shape) && fusedAttentionFits(shape, layer);
  if (!isPlain || !attendAndProject) return runPackedLayer(stream, weights, layer, step as CacheStep).after;
  const parts = weights.layers[layer]!;
  const { matrices, tensors } = parts;
  const output = { matrix: matrices.output!, residual: stream, bias: tensors.outputBias };
  const heads = { ...tensors, rotation: weights.rotations[layer]! };
  const between = attendAndProject(layer, projectHeads(stream, parts, shape), heads, output);
  return fusedFeedForward(between, parts, shape);
}

/**
 * A layer on the fused kernels: norm + q, k, v; RoPE + append; attention (one dispatch, or two for a long context); output + residual;
 * norm + gate, up; down + residual.
 */
function runFusedLayer(stream: Tensor2D, weights: PackedWeights, layer: number, step: CacheStep): PackedLayerRun {
  const { shape } = step.cache;
  const parts = weights.layers[layer]!;
  const { matrices, tensors } = parts;
  const rotation = weights.rotations[layer]!;
  const projected = projectHeads(stream, parts, shape);
  const attended = fusedAttentionFits(shape, layer)
    ? step.attend(layer, projected, { ...tensors, rotation })
    : attendBehindCache(splitProjected(projected, shape, layer), tensors, layer, step, rotation);
  const between = projectAdd(attended, matrices.output!, stream, tensors.outputBias) as Tensor2D;
  return {
    after: fusedFeedForward(between, parts, shape),
    tap(name) {
      switch (name) {
        case 'stream':
          return stream.clone();
        case 'blockInput':
          return normByRole(stream, shape, tensors, 'attentionNorm');
        case 'attended':
          return attended.clone();
        case 'blockOutput':
          return sub(between, stream);
        default:
          return splitProjected(projected, shape, layer)[name];
      }
    },
  };
}

/** Norm + q, k, v. */
export function projectHeads(stream: Tensor2D, { matrices, tensors }: PackedParts, shape: DecoderShape): Tensor2D {
  const norm = { weight: tensors.attentionNorm!, epsilon: shape.blocks.norm.epsilon };
  return normProject(stream, norm, matrices.queryKeyValue!, tensors.queryKeyValueBias) as Tensor2D;
}

/** Norm + gate, up; down + residual. */
export function fusedFeedForward(between: Tensor2D, { matrices, tensors }: PackedParts, shape: DecoderShape): Tensor2D {
  const norm = { weight: tensors.feedForwardNorm!, epsilon: shape.blocks.norm.epsilon };
  const { activation } = shape.feedForward;
  const [gate, up] = [matrices.gate!, matrices.up!];
  // The fused pair has no biases, which are rare.
  const gated = tensors.gateBias
    ? mul(
        activate(normProject(between, norm, gate, tensors.gateBias) as Tensor2D, activation),
        normProject(between, norm, up, tensors.upBias),
      )
    : gatedFeedForward(between, norm, { gate, up, activation: kernelActivations[activation]! });
  return projectAdd(gated, matrices.down!, between, tensors.downBias) as Tensor2D;
}
