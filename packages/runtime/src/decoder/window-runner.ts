import type { LayerActivations, TapName } from '@kvlr/core';

/** Teacher-forced windows: what evaluation and calibration ask of a decoder. Calls come checked, on the active backend. */
export interface WindowRunner {
  /** [tokens, vocabSize] */
  logits(tokenIds: Int32Array): Promise<Float32Array>;
  forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => Promise<void>,
  ): Promise<void>;
}
