import { adamNumbers, adamStep } from '@kvlr/runtime';
import {
  add,
  div,
  getBackend,
  minimum,
  mul,
  type NamedTensorMap,
  sqrt,
  square,
  sub,
  sum,
  type Tensor,
  type Tensor2D,
  tensor2d,
  tidy,
  type Variable,
  variable,
  zerosLike,
} from '@tensorflow/tfjs-core';
import { adamOnHost, type HostParameter, normOf } from './host-adam.ts';

export interface AdamParameter {
  variable: Variable;
  /** Multiplies the learning rate: the size that one full step has for this parameter. */
  stepScale: number;
}

export interface AdamSettings {
  /** How much of the running mean of the gradient is kept at each step, beta 1. Default 0.9. */
  meanDecay?: number;
  /** The same of the squared gradient, beta 2. Default 0.99: training is short. */
  squareDecay?: number;
  /** Share of itself that a parameter loses in a step of size 1 (AdamW, Loshchilov and Hutter 2019). Default 0. */
  weightDecay?: number;
  /** Gradients whose norm over all parameters is greater are shortened to it (Pascanu et al. 2013). Default 0: never. */
  clipNorm?: number;
}

/** One parameter's running means of gradient and squared gradient. */
export interface AdamMoments {
  parameter: AdamParameter;
  mean: Variable;
  square: Variable;
}

/** Far below the gradients of relative errors, so that steps do not depend on the scale of the loss. */
const EPSILON = 1e-12;

/**
 * Adam (Kingma and Ba 2015, algorithm 1) with a learning rate given at every step and a step scale for each parameter.
 * Holds two tensors per parameter until `dispose`.
 */
export class AdamOptimizer {
  private readonly states: AdamMoments[];
  private readonly meanDecay: number;
  private readonly squareDecay: number;
  private readonly weightDecay: number;
  private readonly clipNorm: number;
  private step = 0;

  constructor(parameters: AdamParameter[], settings: AdamSettings = {}) {
    this.meanDecay = settings.meanDecay ?? 0.9;
    this.squareDecay = settings.squareDecay ?? 0.99;
    this.weightDecay = settings.weightDecay ?? 0;
    this.clipNorm = settings.clipNorm ?? 0;
    this.states = parameters.map((parameter) => ({
      parameter,
      mean: zeroVariable(parameter.variable),
      square: zeroVariable(parameter.variable),
    }));
  }

  /** Takes one step down the gradients, which are given by the variables' names. */
  apply(gradients: NamedTensorMap, learningRate: number): void {
    const numbers = this.advance(learningRate);
    tidy(() => {
      if (getBackend() === 'webgpu') this.applyFused(gradients, tensor2d(numbers, [this.states.length, 3]), false);
      else this.applyStock(gradients, numbers);
    });
  }

  /**
   * Goes on to the next step, whose size this is. Returns what the step needs of it, three numbers for each parameter: its full step
   * divided by what the running mean is to be divided by, what the running mean of the square is to be divided by, and the share of the
   * value that is kept.
   */
  advance(learningRate: number): Float32Array {
    this.step += 1;
    const meanCorrection = 1 - this.meanDecay ** this.step;
    const squareCorrection = 1 - this.squareDecay ** this.step;
    return Float32Array.from(
      this.states.flatMap(({ parameter }) => {
        const size = learningRate * parameter.stepScale;
        return adamNumbers({ rate: size / meanCorrection, squareCorrection, kept: 1 - size * this.weightDecay });
      }),
    );
  }

  /**
   * On WebGPU: a step with the numbers of `advance`, [parameters, 3], in one dispatch for each parameter. `inPlace` where no other tensor
   * shares the buffers of values and running means: they are written where they lie. Call inside tf.tidy.
   */
  applyFused(gradients: NamedTensorMap, numbers: Tensor2D, inPlace: boolean): void {
    const { meanDecay, squareDecay } = this;
    const shortened = this.shortening(gradients);
    for (const [row, { parameter, mean, square: squares }] of this.states.entries()) {
      const { variable: current } = parameter;
      const next = adamStep(
        { value: current, gradient: shorten(gradients[current.name]!, shortened), mean, square: squares, numbers },
        { row, meanDecay, squareDecay, epsilon: EPSILON, inPlace },
      );
      if (inPlace) continue;
      current.assign(next.value);
      mean.assign(next.mean);
      squares.assign(next.square);
    }
  }

  /** The same step on numbers of the host: of each parameter, in the order of the parameters. */
  applyOnHost(parameters: readonly HostParameter[], gradients: readonly Float32Array[], learningRate: number): void {
    const { meanDecay, squareDecay, clipNorm } = this;
    const numbers = this.advance(learningRate);
    const factor = clipNorm > 0 ? Math.min(1, clipNorm / (normOf(gradients) + EPSILON)) : 1;
    for (const [row, parameter] of parameters.entries()) {
      const [rate, squareCorrection, kept] = numbers.subarray(3 * row, 3 * row + 3);
      const ofParameter = { rate: rate!, squareCorrection: squareCorrection!, kept: kept! };
      adamOnHost(parameter, gradients[row]!, { meanDecay, squareDecay, epsilon: EPSILON, factor, ...ofParameter });
    }
  }

  private applyStock(gradients: NamedTensorMap, numbers: Float32Array): void {
    const shortened = this.shortening(gradients);
    for (const [row, { parameter, mean, square: squares }] of this.states.entries()) {
      const { variable: current } = parameter;
      const gradient = shorten(gradients[current.name]!, shortened);
      const [rate, squareCorrection, kept] = numbers.subarray(3 * row, 3 * row + 3);
      mean.assign(add(mul(mean, this.meanDecay), mul(gradient, 1 - this.meanDecay)));
      squares.assign(add(mul(squares, this.squareDecay), mul(square(gradient), 1 - this.squareDecay)));
      const spread = add(sqrt(div(squares, squareCorrection!)), EPSILON);
      const change = mul(div(mean, spread), rate!);
      current.assign(sub(this.weightDecay > 0 ? mul(current, kept!) : current, change));
    }
  }

  /** What gradients are multiplied by, so that their norm is at most `clipNorm`; undefined where nothing is clipped. */
  private shortening(gradients: NamedTensorMap): Tensor | undefined {
    if (this.clipNorm === 0) return undefined;
    const squares = this.states.map(({ parameter }) => sum(square(gradients[parameter.variable.name]!)));
    // One by one: a WebGPU kernel binds only so many tensors.
    const norm = sqrt(squares.reduce((total, each) => add(total, each)));
    return minimum(1, div(this.clipNorm, add(norm, EPSILON)));
  }

  /** The running means of each parameter, in the order of the parameters. */
  moments(): readonly AdamMoments[] {
    return this.states;
  }

  /** Goes on behind this many steps, whose moments the caller has put back. */
  resumeAfter(steps: number): void {
    this.step = steps;
  }

  dispose(): void {
    for (const { mean, square: squares } of this.states) {
      mean.dispose();
      squares.dispose();
    }
  }
}

function shorten(gradient: Tensor, by: Tensor | undefined): Tensor {
  return by === undefined ? gradient : mul(gradient, by);
}

function zeroVariable(like: Variable): Variable {
  return tidy(() => variable(zerosLike(like), false));
}
