import {
  AttendedMoments,
  attendedMomentsBytes,
  type BlockInputs,
  type GroupAttendedMoments,
  readAttentionWeights,
} from '@kvlr/compression';
import { type ModelSource, type RunControl, throwIfAborted } from '@kvlr/core';
import { createMatrix } from '@kvlr/linalg';
import { once } from '../models/once.ts';
import type { ModelRunner } from '../models/runner.ts';
import type { WindowStream } from '../models/window-stream.ts';
import { type OriginalOnText, sampleWindows } from './statistics.ts';

/** What later stages ask the original model besides the statistics: each is recorded when it is first asked for. */
export interface Recordings {
  /** What the attention block of a layer reads, on a few windows: what errors of merges are measured on. */
  blockInputs(layer: number): Promise<BlockInputs>;
  /**
   * Moments of attended values of a layer's groups; undefined, with a warning, where they take too much memory. Layers are asked for
   * in order: an earlier one begins another pass over the text.
   */
  attendedMoments(
    layer: number,
    groups: readonly number[][],
    control: RunControl,
  ): Promise<GroupAttendedMoments[] | undefined>;
  /** Frees what passes over the text hold. */
  close(): Promise<void>;
}

/** Windows that block inputs are recorded on, and those of the attended moments. */
const recordedWindows = 2;
const attendedWindows = 16;
/** Beyond this the attended moments of a layer are left out, and values are what they would start from. */
const maximumMomentBytes = 2 ** 31;

/** Further passes of the original model over the calibration text. */
export function recordOriginal(original: OriginalOnText): Recordings {
  const { model, runner, text, calibration } = original;
  const { shape } = model;
  const { windowLength: tokens } = calibration;
  const record = once(() => recordBlockInputs(original));
  let pass: HeldStream | undefined;
  /** The pass over the windows of attended moments, before this layer. */
  const passBefore = async (layer: number): Promise<WindowStream> => {
    if (pass !== undefined && pass.stream.layer > layer) {
      await pass.end();
      pass = undefined;
    }
    pass ??= await holdStream(runner, model, sampleWindows(text, calibration, attendedWindows));
    while (pass.stream.layer < layer) await pass.stream.advance();
    return pass.stream;
  };
  return {
    async blockInputs(layer) {
      const numbers = Float64Array.from((await record())[layer]!);
      return { rows: createMatrix(numbers.length / shape.hiddenSize, shape.hiddenSize, numbers), tokens };
    },
    async attendedMoments(layer, groups, { onEvent, signal }) {
      const bytes = attendedMomentsBytes(shape, groups);
      if (bytes > maximumMomentBytes) {
        const message = `Moments of attended values of layer ${layer + 1} would take ${(bytes / 1e9).toFixed(1)} GB: its values are fitted without them.`;
        onEvent?.({ type: 'warning', message, data: { layer, bytes, maximumBytes: maximumMomentBytes } });
        return undefined;
      }
      const moments = new AttendedMoments({ shape, layer, weights: await readAttentionWeights(model, layer) }, groups);
      const stream = await passBefore(layer);
      await stream.advance(['blockInput'], ({ blockInput }) => {
        throwIfAborted(signal);
        moments.add({ rows: createMatrix(tokens, shape.hiddenSize, Float64Array.from(blockInput!)), tokens });
      });
      return moments.moments();
    },
    async close() {
      await pass?.end();
      pass = undefined;
    },
  };
}

/** Windows on their way through a model, held until they are ended. */
interface HeldStream {
  stream: WindowStream;
  end(): Promise<void>;
}

async function holdStream(
  runner: ModelRunner,
  model: ModelSource,
  windows: readonly Int32Array[],
): Promise<HeldStream> {
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let held: Promise<void> | undefined;
  const stream = await new Promise<WindowStream>((resolve, reject) => {
    held = runner.stream(model, windows, (opened) => {
      resolve(opened);
      return finished;
    });
    held.catch(reject);
  });
  return {
    stream,
    async end() {
      finish();
      await held;
    },
  };
}

/** The normed inputs of all attention blocks in one pass, as Float32: layers x (windows x tokens x hiddenSize) numbers. */
async function recordBlockInputs({ model, runner, text, calibration }: OriginalOnText): Promise<Float32Array[]> {
  const { numLayers, hiddenSize } = model.shape;
  const windows = sampleWindows(text, calibration, recordedWindows);
  const size = calibration.windowLength * hiddenSize;
  const recorded = Array.from({ length: numLayers }, () => new Float32Array(windows.length * size));
  await runner.stream(model, windows, async (stream) => {
    for (const ofLayer of recorded) {
      let place = 0;
      await stream.advance(['blockInput'], ({ blockInput }) => ofLayer.set(blockInput!, size * place++));
    }
  });
  return recorded;
}
