import { type AdamNumbers, adamStep } from '@kvlr/runtime';
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
  tidy,
  type Variable,
  variable,
  zerosLike,
} from '@tensorflow/tfjs-core';

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
    this.step += 1;
    const meanCorrection = 1 - this.meanDecay ** this.step;
    const squareCorrection = 1 - this.squareDecay ** this.step;
    tidy(() => {
      const shortened = this.shortening(gradients);
      for (const state of this.states) {
        const { variable: current, stepScale } = state.parameter;
        const whole = gradients[current.name]!;
        const gradient = shortened === undefined ? whole : mul(whole, shortened);
        const size = learningRate * stepScale;
        if (getBackend() === 'webgpu') {
          this.applyFused(state, gradient, {
            rate: size / meanCorrection,
            squareCorrection,
            kept: 1 - size * this.weightDecay,
          });
          continue;
        }
        state.mean.assign(add(mul(state.mean, this.meanDecay), mul(gradient, 1 - this.meanDecay)));
        state.square.assign(add(mul(state.square, this.squareDecay), mul(square(gradient), 1 - this.squareDecay)));
        const spread = add(sqrt(div(state.square, squareCorrection)), EPSILON);
        const change = mul(div(state.mean, spread), size / meanCorrection);
        const decayed = this.weightDecay > 0 ? mul(current, 1 - size * this.weightDecay) : current;
        current.assign(sub(decayed, change));
      }
    });
  }

  /** One dispatch in the place of fourteen, and of as many numbers on their way to the device. */
  private applyFused(
    { parameter, mean, square: squares }: AdamMoments,
    gradient: Tensor,
    numbers: Pick<AdamNumbers, 'rate' | 'squareCorrection' | 'kept'>,
  ): void {
    const { meanDecay, squareDecay } = this;
    const next = adamStep(
      { value: parameter.variable, gradient, mean, square: squares },
      { ...numbers, meanDecay, squareDecay, epsilon: EPSILON },
    );
    parameter.variable.assign(next.value);
    mean.assign(next.mean);
    squares.assign(next.square);
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

function zeroVariable(like: Variable): Variable {
  return tidy(() => variable(zerosLike(like), false));
}
