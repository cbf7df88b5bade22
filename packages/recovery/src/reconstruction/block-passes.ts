import type { BlockWindow } from '@kvlr/core';
import type { NamedTensorMap, Scalar } from '@tensorflow/tfjs-core';
import type { AdamOptimizer } from '../training/adam-optimizer.ts';
import type { OutputMoments } from './output-moments.ts';
import type { TrainingSteps } from './training-steps.ts';

/** What a block is to learn: from the compressed model's stream before it to the original stream after it; windows in their order. */
export interface StreamPairs {
  /** Windows. */
  count: number;
  /** One of them; what an error of a token counts is of `tokenWeights`. */
  window(place: number): Promise<BlockWindow>;
  /** Weighted sum of squares that errors of one window are shares of: see `unitOfError`. */
  unit: number;
}

/** Which of the windows: those that are trained on, or those that judge. */
export type WindowSet = 'train' | 'heldOut';

/**
 * Windows through one attention block whose projections are variables, wherever it runs. An error is the squared distance between the
 * stream after the block and the original one, tokens weighted, as a share of the energy of what the original block adds.
 */
export interface BlockPasses {
  /** Mean error over the held-out windows. */
  heldOutError(): Promise<number>;
  /** Mean error over some training windows, and its gradients by the names of the variables; the caller disposes both. */
  gradients(batch: readonly number[]): Promise<{ error: Scalar; gradients: NamedTensorMap }>;
  /**
   * Steps of this optimiser on so many windows each that cost the host less than `gradients` one by one; undefined or absent where there
   * are none such. `unread`: steps at most between two readings of their errors.
   */
  record?(optimizer: AdamOptimizer, windowsPerStep: number, unread: number): TrainingSteps | undefined;
  /** Summed over all windows of a set. */
  moments(set: WindowSet): Promise<OutputMoments>;
  /** Frees what it holds; the variables stay. */
  dispose(): void;
}
