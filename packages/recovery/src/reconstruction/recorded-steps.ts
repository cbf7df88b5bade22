import { allocateTensor, RepeatedStep } from '@kvlr/runtime';
import { type Scalar, type Tensor2D, tidy, type Variable, variableGrads } from '@tensorflow/tfjs-core';
import type { AdamOptimizer } from '../training/adam-optimizer.ts';
import { OwnedVariables } from '../training/owned-variables.ts';
import type { HeldWindows } from './held-windows.ts';
import { meanOf, type TrainingSteps } from './training-steps.ts';

/** What passes through a block, windows one under another. */
export interface StackedPairs {
  inputs: Tensor2D;
  targets: Tensor2D;
  weights: Tensor2D;
}

export interface RecordedStepsRequest {
  windows: Record<keyof StackedPairs, HeldWindows>;
  windowsPerStep: number;
  variables: Variable[];
  optimizer: AdamOptimizer;
  /** Mean error of the windows, differentiable in the variables. */
  errorOf: (pairs: StackedPairs) => Scalar;
  /** Steps at most between two calls of `meanError`. */
  unread: number;
}

const parts = ['inputs', 'targets', 'weights'] as const;

/**
 * Steps on WebGPU that are recorded once, forward pass, gradients and Adam together, and then run again: the host copies the windows of a
 * step to where the recording reads them, and writes three numbers for each variable.
 */
export class RecordedSteps implements TrainingSteps {
  private readonly owned: OwnedVariables;
  private readonly pairs: StackedPairs;
  private readonly numbers: Tensor2D;
  private readonly step: RepeatedStep;

  /** Throws 'unsupported-feature' where the block asks for what cannot be recorded. */
  constructor(private readonly request: RecordedStepsRequest) {
    const { windows, windowsPerStep, variables, optimizer, errorOf, unread } = request;
    const moments = optimizer.moments().flatMap(({ mean, square }) => [mean, square]);
    this.owned = new OwnedVariables([...variables, ...moments]);
    const stacked = parts.map((part) => [part, windows[part].allocate(windowsPerStep)]);
    this.pairs = Object.fromEntries(stacked) as StackedPairs;
    this.numbers = allocateTensor([optimizer.moments().length, 3], 'float32') as Tensor2D;
    const body = () =>
      tidy(() => {
        const { value, grads } = variableGrads(() => errorOf(this.pairs), variables);
        optimizer.applyFused(grads, this.numbers, true);
        return value;
      });
    try {
      this.step = new RepeatedStep({ body, written: this.owned.tensors, results: unread });
    } catch (error) {
      this.disposeTensors();
      throw error;
    }
  }

  async take(batch: readonly number[], learningRate: number): Promise<void> {
    const { optimizer, windows } = this.request;
    this.owned.settle();
    const numbers = optimizer.advance(learningRate);
    this.step.run((inputs) => {
      inputs.write(numbers, this.numbers);
      for (const part of parts) windows[part].copyTo(inputs, this.pairs[part], batch);
    });
  }

  async meanError(): Promise<number> {
    return meanOf(await this.step.read());
  }

  dispose(): void {
    this.step.dispose();
    this.disposeTensors();
  }

  private disposeTensors(): void {
    this.owned.dispose();
    for (const tensor of [...Object.values(this.pairs), this.numbers]) tensor.dispose();
  }
}
