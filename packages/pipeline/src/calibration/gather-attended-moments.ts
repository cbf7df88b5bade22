import { randomWindows } from '@kvlr/calibration';
import {
  AttendedMoments,
  attendedMomentsBytes,
  type GroupAttendedMoments,
  readAttentionWeights,
} from '@kvlr/compression';
import { type RunControl, throwIfAborted } from '@kvlr/core';
import { createMatrix } from '@kvlr/linalg';
import { sayWhichText } from '../run/say-which-text.ts';
import type { RecordingRequest } from './record-block-inputs.ts';

/** Windows that the moments are gathered on: the first of those that the statistics come from. */
const gatheredWindows = 16;
/** Beyond this the moments of all layers are left out, and values are what they would start from. */
const maximumBytes = 2 ** 31;

/** Moments of attended values of each layer's groups, in one pass; undefined, with a warning, where they take too much memory. */
export type AttendedGathering = (
  groups: readonly number[][][],
  control: RunControl,
) => Promise<GroupAttendedMoments[][] | undefined>;

/** The second pass over calibration text, for methods that fit values to what is attended to. */
export function gatherAttendedMoments(request: RecordingRequest): AttendedGathering {
  const { model, runner, calibration, tokenIds } = request;
  const { shape } = model;
  return async (groups, { onEvent, signal }) => {
    const bytes = groups.reduce((sum, ofLayer) => sum + attendedMomentsBytes(shape, ofLayer), 0);
    if (bytes > maximumBytes) {
      const message = `Moments of attended values would take ${(bytes / 1e9).toFixed(1)} GB: values are fitted without them.`;
      onEvent?.({ type: 'warning', message, data: { bytes, maximumBytes } });
      return undefined;
    }
    const { windowLength: tokens, seed } = calibration;
    const ids = await tokenIds();
    const count = Math.min(gatheredWindows, calibration.windows);
    const windows = sayWhichText('calibration', () => randomWindows(ids, { count, length: tokens, seed }));
    const layers: AttendedMoments[] = [];
    for (let layer = 0; layer < shape.numLayers; layer++) {
      const weights = await readAttentionWeights(model, layer);
      layers.push(new AttendedMoments({ shape, layer, weights }, groups[layer]!));
    }
    await runner.useActivations(model, async (activations) => {
      for (const window of windows) {
        await activations.forEachLayer(window, ['blockInput'], ({ layer, blockInput }) => {
          throwIfAborted(signal);
          const rows = createMatrix(tokens, shape.hiddenSize, Float64Array.from(blockInput!));
          layers[layer]!.add({ rows, tokens });
        });
      }
    });
    return layers.map((layer) => layer.moments());
  };
}
