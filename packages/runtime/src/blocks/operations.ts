import { type Activation, type DecoderShape, type NormShape, normOfRole } from '@kvlr/core';
import { rmsNorm, siluGate, siluGateGradients } from '@kvlr/kernels';
import {
  add,
  customGrad,
  erf,
  type GradSaveFunc,
  getBackend,
  matMul,
  mean,
  mul,
  relu,
  rsqrt,
  sigmoid,
  square,
  sub,
  type Tensor,
  type Tensor1D,
  type Tensor2D,
  tanh,
} from '@tensorflow/tfjs-core';
import type { TensorsByRole } from './weights.ts';

export type NormRole =
  | 'embeddingNorm'
  | 'attentionNorm'
  | 'attentionOutputNorm'
  | 'feedForwardNorm'
  | 'feedForwardOutputNorm'
  | 'finalNorm';

/**
 * Norm over the last axis: x / sqrt(mean(x^2) + epsilon) ('rms', Zhang and Sennrich 2019), or the same of x less its mean ('layer',
 * Ba et al. 2016); times a scale, plus a bias, where there are any.
 */
export function norm<Rows extends Tensor>(x: Rows, shape: NormShape, scale?: Tensor, bias?: Tensor): Rows {
  if (shape.kind === 'rms' && bias === undefined && scale?.rank === 1 && getBackend() === 'webgpu') {
    return rmsNorm(x, scale, shape.epsilon) as Rows;
  }
  const centred = shape.kind === 'layer' ? sub(x, mean(x, -1, true)) : x;
  let normed: Tensor = mul(centred, rsqrt(add(mean(square(centred), -1, true), shape.epsilon)));
  if (scale !== undefined) normed = mul(normed, scale);
  return (bias === undefined ? normed : add(normed, bias)) as Rows;
}

/** What the gated feed-forward block's inner numbers are: the activated gate times up. */
export function gated(gate: Tensor2D, up: Tensor2D, activation: Activation): Tensor2D {
  if (activation !== 'silu' || getBackend() !== 'webgpu') return mul(activate(gate, activation), up);
  return customGrad((left, right, save) => {
    (save as GradSaveFunc)([left as Tensor, right as Tensor]);
    const gradFunc = (gradient: Tensor, [a, b]: Tensor[]) => siluGateGradients(gradient, a!, b!);
    return { value: siluGate(left as Tensor, right as Tensor), gradFunc };
  })(gate, up) as Tensor2D;
}

/** One of a decoder's norms of its stream [rows, hiddenSize]; the stream itself where the decoder has no norm there. */
export function normByRole(x: Tensor2D, model: DecoderShape, weights: TensorsByRole, role: NormRole): Tensor2D {
  const shape = normOfRole(model, role);
  return shape === undefined ? x : norm(x, shape, weights[role], weights[`${role}Bias`]);
}

/** The matrices of a layer's blocks that may have biases. */
export type Projection = 'query' | 'key' | 'value' | 'output' | 'gate' | 'up' | 'down';

/** One of a layer's projections of x [rows, in]: x W + bias. */
export type Project = (x: Tensor2D, projection: Projection) => Tensor2D;

/** The projections of these weights, differentiable in all of them. */
export function projectWith(weights: TensorsByRole): Project {
  return (x, projection) => {
    const product: Tensor2D = matMul(x, weights[`${projection}Weight`] as Tensor2D);
    const bias = weights[`${projection}Bias`] as Tensor1D | undefined;
    return bias === undefined ? product : add(product, bias);
  };
}

/** The feed-forward block's nonlinearity, element by element. */
export function activate(x: Tensor2D, activation: Activation): Tensor2D {
  switch (activation) {
    case 'silu':
      return mul(x, sigmoid(x));
    case 'gelu':
      return mul(mul(x, 0.5), add(erf(mul(x, Math.SQRT1_2)), 1));
    case 'gelu_pytorch_tanh': {
      const cube = mul(mul(x, x), x);
      return mul(mul(x, 0.5), add(tanh(mul(add(x, mul(cube, 0.044715)), Math.sqrt(2 / Math.PI))), 1));
    }
    case 'relu':
      return relu(x);
  }
}

/** x becomes cap * tanh(x / cap), where there is a cap (Gemma 2, arXiv 2408.00118). */
export function softCapped<Values extends Tensor>(x: Values, cap: number | undefined): Values {
  return cap === undefined ? x : mul(tanh(mul(x, 1 / cap)), cap);
}

/** x times a factor, where it is not 1. */
export function scaled<Values extends Tensor>(x: Values, factor: number): Values {
  return factor === 1 ? x : mul(x, factor);
}
