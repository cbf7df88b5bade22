import { randomWindows } from '@kvlr/calibration';
import type { BlockInputs } from '@kvlr/compression';
import type { ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { createMatrix } from '@kvlr/linalg';
import type { ModelRunner } from '../models/model-runner.ts';
import { once } from '../run/once.ts';
import { sayWhichText } from '../run/say-which-text.ts';

/** What the attention block of a layer reads in the original model, on a few windows of calibration text. */
export type RecordedInputs = (layer: number) => Promise<BlockInputs>;

/** Windows that errors of merges are measured on: the first of those that the statistics come from. */
const measuredWindows = 2;

export interface RecordingRequest {
  model: ModelSource;
  runner: ModelRunner;
  calibration: Recipe['calibration'];
  /** Tokens of the calibration text. */
  tokenIds: () => Promise<Int32Array>;
}

/**
 * Records the normed inputs of all attention blocks when they are first asked for, in one pass, and keeps them as Float32:
 * layers x windows x tokens x hiddenSize numbers.
 */
export function recordBlockInputs({ model, runner, calibration, tokenIds }: RecordingRequest): RecordedInputs {
  const { numLayers, hiddenSize } = model.shape;
  const { windowLength: tokens, seed } = calibration;
  const record = once(async () => {
    const ids = await tokenIds();
    const count = Math.min(measuredWindows, calibration.windows);
    const windows = sayWhichText('calibration', () => randomWindows(ids, { count, length: tokens, seed }));
    const recorded = Array.from({ length: numLayers }, () => new Float32Array(count * tokens * hiddenSize));
    await runner.useActivations(model, async (activations) => {
      for (const [place, window] of windows.entries()) {
        await activations.forEachLayer(window, ['blockInput'], ({ layer, blockInput }) => {
          recorded[layer]!.set(blockInput!, place * tokens * hiddenSize);
        });
      }
    });
    return recorded;
  });
  return async (layer) => {
    const numbers = Float64Array.from((await record())[layer]!);
    return { rows: createMatrix(numbers.length / hiddenSize, hiddenSize, numbers), tokens };
  };
}
