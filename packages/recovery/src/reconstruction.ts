import type { DenseTensor } from '@kvlr/core';
import type { ReconstructionPreset, ReconstructionSettings } from './reconstruction-settings.ts';
import type { TrainingPoint } from './training/train-attention.ts';
import type { TrainingRequest } from './training-request.ts';

export interface ReconstructionRequest extends TrainingRequest {
  /** Default 'full'. */
  preset?: ReconstructionPreset;
  settings?: Partial<ReconstructionSettings>;
  /** Layers 0, 1, ... of an interrupted run with the same request: taken as they are. */
  completedLayers?: readonly ReconstructedLayer[];
  /** Called after each trained layer, before the next begins: the place to save it. */
  onLayerDone?: (layer: ReconstructedLayer) => void | Promise<void>;
}

/** One layer's attention after training. */
export interface ReconstructedLayer {
  layer: number;
  /** q, k, v and o (and biases) under the student's tensor names, matrices [out, in]. */
  tensors: Map<string, DenseTensor>;
  history: LayerHistory;
}

/** Errors are shares of the energy of what the original block adds to the stream. */
export interface LayerHistory {
  layer: number;
  /** Held-out error before and after. */
  initialError: number;
  finalError: number;
  points: TrainingPoint[];
}

export interface ReconstructionResult {
  layers: ReconstructedLayer[];
  history: LayerHistory[];
}
