import type { DecoderShape } from '@kvlr/core';
import { type Activation, gatedFeedForward, normProject, projectAdd } from '@kvlr/kernels';
import { mul, type Tensor2D } from '@tensorflow/tfjs-core';
import { activate } from '../blocks/activate.ts';
import type { CacheStep } from '../cache/cache-step.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import { attendRebuilt } from './attend-rebuilt.ts';
import type { FusedLayer, FusedWeights } from './fused-weights.ts';

/** What one layer computed; the stages are those of core's `LayerActivations`. */
export interface FusedStages {
  /** q, k and v of every row side by side, before RoPE. */
  projected: Tensor2D;
  attended: Tensor2D;
  /** The stream after attention. */
  between: Tensor2D;
  /** The stream after the layer. */
  after: Tensor2D;
}

const activations: Record<DecoderShape['hiddenActivation'], Activation> = {
  silu: 'silu',
  gelu: 'gelu',
  gelu_pytorch_tanh: 'gelu-tanh',
};

/**
 * One decoder layer over new tokens behind a cache: norm + q, k, v; RoPE + append; attention (one dispatch, or two for a long
 * context); output + residual; norm + gate, up; down + residual. Call inside tf.tidy. Rebuilt keys take stock ops for attention.
 */
export function runFusedLayer(
  stream: Tensor2D,
  weights: FusedWeights,
  layer: number,
  cache: KeyValueCache,
  step: CacheStep,
): FusedStages {
  const { shape } = cache;
  const own = weights.layers[layer]!;
  const attentionNorm = { weight: own.attentionNorm, epsilon: shape.rmsNormEpsilon };
  const projected = normProject(stream, attentionNorm, own.queryKeyValue, own.queryKeyValueBias) as Tensor2D;
  const tensors = { ...own, rotation: weights.rotation };
  const attended =
    shape.layers[layer]!.keys === 'rebuilt'
      ? attendRebuilt(layer, projected, tensors, cache, step)
      : step.attend(layer, projected, tensors);
  const between = projectAdd(attended, own.output, stream, own.outputBias) as Tensor2D;
  return { projected, attended, between, after: feedForward(between, own, shape) };
}

function feedForward(between: Tensor2D, own: FusedLayer, shape: DecoderShape): Tensor2D {
  const norm = { weight: own.feedForwardNorm, epsilon: shape.rmsNormEpsilon };
  const { gate, up, down, gateBias, upBias, downBias } = own;
  // The fused pair has no biases, which are rare.
  const gated = gateBias
    ? mul(
        activate(normProject(between, norm, gate, gateBias) as Tensor2D, shape.hiddenActivation),
        normProject(between, norm, up, upBias),
      )
    : gatedFeedForward(between, norm, { gate, up, activation: activations[shape.hiddenActivation] });
  return projectAdd(gated, down, between, downBias) as Tensor2D;
}
