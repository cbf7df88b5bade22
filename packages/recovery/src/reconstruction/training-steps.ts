import type { NamedTensorMap, Scalar } from '@tensorflow/tfjs-core';
import type { AdamOptimizer } from '../training/adam-optimizer.ts';
import { readScalars } from '../training/read-scalars.ts';

/** Steps of a block down its gradients. */
export interface TrainingSteps {
  /** Takes a step on some training windows. */
  take(batch: readonly number[], learningRate: number): Promise<void>;
  /** Mean error of the windows of the steps since the last call, each before its step. */
  meanError(): Promise<number>;
  dispose(): void;
}

/** Mean error over some training windows, and its gradients by the names of the variables. */
type Gradients = (batch: readonly number[]) => Promise<{ error: Scalar; gradients: NamedTensorMap }>;

/** One operation after another. */
export class PlainSteps implements TrainingSteps {
  /** Since they were last read, on the device. */
  private errors: Scalar[] = [];

  constructor(
    private readonly passes: { gradients: Gradients },
    private readonly optimizer: AdamOptimizer,
  ) {}

  async take(batch: readonly number[], learningRate: number): Promise<void> {
    const { error, gradients } = await this.passes.gradients(batch);
    this.errors.push(error);
    this.optimizer.apply(gradients, learningRate);
    for (const gradient of Object.values(gradients)) gradient.dispose();
  }

  async meanError(): Promise<number> {
    const mean = meanOf(await readScalars(this.errors));
    this.dispose();
    return mean;
  }

  dispose(): void {
    for (const error of this.errors.splice(0)) error.dispose();
  }
}

export function meanOf(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length;
}
