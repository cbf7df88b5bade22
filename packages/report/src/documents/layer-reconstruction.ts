/** One reading of the error while a layer's block was fitted. */
export interface ReconstructionStep {
  /** Optimiser steps taken before the reading; 0 is the closed-form start. */
  step: number;
  /** Error on the text that is fitted. */
  trainingError?: number;
  /** Error on held-out calibration text. */
  heldOutError?: number;
}

/**
 * How block reconstruction went for one layer. Errors are squared errors of the residual stream after the block, as a share
 * of the energy of what the original block adds to it.
 */
export interface LayerReconstruction {
  layer: number;
  /** Held-out error of the closed-form factors and of the weights that were kept. */
  heldOutBefore: number;
  heldOutAfter: number;
  history: ReconstructionStep[];
}
