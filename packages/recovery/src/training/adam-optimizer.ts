import {
  add,
  div,
  mul,
  type NamedTensorMap,
  sqrt,
  square,
  sub,
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

/** How much of the running means of gradient and squared gradient is kept at each step, beta 1 and beta 2. */
export interface AdamDecays {
  /** Default 0.9. */
  meanDecay?: number;
  /** Default 0.99: training is short. */
  squareDecay?: number;
  /** Share of itself that a parameter loses in a step of size 1 (AdamW, Loshchilov and Hutter 2019). Default 0. */
  weightDecay?: number;
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
  private step = 0;

  constructor(parameters: AdamParameter[], decays: AdamDecays = {}) {
    this.meanDecay = decays.meanDecay ?? 0.9;
    this.squareDecay = decays.squareDecay ?? 0.99;
    this.weightDecay = decays.weightDecay ?? 0;
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
      for (const state of this.states) {
        const { variable: current, stepScale } = state.parameter;
        const gradient = gradients[current.name]!;
        state.mean.assign(add(mul(state.mean, this.meanDecay), mul(gradient, 1 - this.meanDecay)));
        state.square.assign(add(mul(state.square, this.squareDecay), mul(square(gradient), 1 - this.squareDecay)));
        const spread = add(sqrt(div(state.square, squareCorrection)), EPSILON);
        const size = learningRate * stepScale;
        const change = mul(div(state.mean, spread), size / meanCorrection);
        const decayed = this.weightDecay > 0 ? mul(current, 1 - size * this.weightDecay) : current;
        current.assign(sub(decayed, change));
      }
    });
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
