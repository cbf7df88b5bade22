import type { DenseTensor } from '@kvlr/core';
import type { TrainingRequest } from '../training-request.ts';
import type { DistillationPreset, DistillationSettings } from './distillation-settings.ts';

export interface DistillationRequest extends TrainingRequest {
  /** Default 'full'. */
  preset?: DistillationPreset;
  settings?: Partial<DistillationSettings>;
  /** Of an interrupted run with the same request: training goes on behind it, to the same result. */
  checkpoint?: DistillationCheckpoint;
  /** Is handed a checkpoint after every look at the held-out windows. */
  onCheckpoint?: (checkpoint: DistillationCheckpoint) => void | Promise<void>;
}

/** One look at the held-out windows. Losses are natural logarithms, means over predicted tokens. */
export interface DistillationPoint {
  step: number;
  /** Tokens trained on by then. */
  tokens: number;
  /** Mean loss of the training steps since the last point; none before the first step. */
  trainLoss?: number;
  /** What training lowers, on the held-out windows. */
  heldOutLoss: number;
  /** Its two parts: KL(original || student), and the cross-entropy of the text's next tokens. */
  heldOutDivergence: number;
  heldOutNextToken: number;
}

/** All that training needs to go on. */
export interface DistillationCheckpoint {
  /** Steps taken. */
  step: number;
  points: DistillationPoint[];
  /** By layer, variable and kind: `0/query/current`, `/best`, `/mean`, `/square`; matrices [in, out]. */
  tensors: Map<string, DenseTensor>;
}

export interface DistillationResult {
  /** The trained projections (and biases) of all layers under the student's tensor names, matrices [out, in]. */
  tensors: Map<string, DenseTensor>;
  points: DistillationPoint[];
  /** The point whose values were taken. */
  best: DistillationPoint;
  /** Tokens trained on. */
  trainingTokens: number;
}
