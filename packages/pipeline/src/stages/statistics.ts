import { CalibrationText, statisticsFromBundle, statisticsToBundle, type TextDocument } from '@kvlr/calibration';
import {
  AttendedMoments,
  attendedMomentsBytes,
  type BlockInputs,
  type GroupAttendedMoments,
  readAttentionWeights,
} from '@kvlr/compression';
import {
  type CalibrationStatistics,
  type Checkpoint,
  type LayerStatistics,
  type ModelSource,
  type RunControl,
  throwIfAborted,
} from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { createMatrix, eigSymmetric } from '@kvlr/linalg';
import type { LayerSpectra } from '@kvlr/report';
import { ModelRunner, once, type RunnerRequest } from '../models/runner.ts';
import { type ArtefactKey, bundleCodec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { artefactNames } from '../run/store.ts';

/** The original model, and the calibration text that it is run on. */
export interface OriginalOnText {
  model: ModelSource;
  runner: ModelRunner;
  text: CalibrationText;
  calibration: Recipe['calibration'];
}

/** Stage 1: second moments of every layer over the calibration text. */
export function gatherStatistics(
  context: RunContext,
  { model, runner, text, calibration, textHash, key }: OriginalOnText & { textHash: string; key: ArtefactKey },
): Promise<CalibrationStatistics> {
  const stage = {
    stage: 'statistics' as const,
    title: 'Second moments over the calibration text',
    name: artefactNames.statistics,
    key,
    codec: bundleCodec(statisticsToBundle, statisticsFromBundle),
    detail: ({ provenance: { tokenCount, windowLength } }: CalibrationStatistics) =>
      `${tokenCount.toLocaleString('en-US')} tokens in ${tokenCount / windowLength} windows`,
  };
  return context.cached(stage, ({ control }) =>
    runner.collectStatistics(model, {
      ...control,
      windows: sample(text, calibration),
      provenance: { modelId: model.id, textHash, seed: calibration.seed },
    }),
  );
}

/** The windows that statistics are gathered on, or the first of them. */
function sample(text: CalibrationText, { windows, windowLength: length, seed }: Recipe['calibration'], most = windows) {
  return text.sample({ count: Math.min(most, windows), length, seed });
}

/** What later stages ask the original model besides the statistics: each is recorded when it is first asked for. */
export interface Recordings {
  /** What the attention block of a layer reads, on a few windows: what errors of merges are measured on. */
  blockInputs(layer: number): Promise<BlockInputs>;
  /** Moments of attended values of each layer's groups; undefined, with a warning, where they take too much memory. */
  attendedMoments(groups: readonly number[][][], control: RunControl): Promise<GroupAttendedMoments[][] | undefined>;
}

/** Windows that block inputs are recorded on, and those of the attended moments. */
const recordedWindows = 2;
const attendedWindows = 16;
/** Beyond this the attended moments of all layers are left out, and values are what they would start from. */
const maximumMomentBytes = 2 ** 31;

/** Further passes of the original model over the calibration text. */
export function recordOriginal(original: OriginalOnText): Recordings {
  const { hiddenSize } = original.model.shape;
  const { windowLength: tokens } = original.calibration;
  const record = once(() => recordBlockInputs(original));
  return {
    async blockInputs(layer) {
      const numbers = Float64Array.from((await record())[layer]!);
      return { rows: createMatrix(numbers.length / hiddenSize, hiddenSize, numbers), tokens };
    },
    attendedMoments: (groups, control) => gatherAttendedMoments(original, groups, control),
  };
}

/** The normed inputs of all attention blocks in one pass, as Float32: layers x (windows x tokens x hiddenSize) numbers. */
async function recordBlockInputs({ model, runner, text, calibration }: OriginalOnText): Promise<Float32Array[]> {
  const { numLayers, hiddenSize } = model.shape;
  const windows = sample(text, calibration, recordedWindows);
  const size = calibration.windowLength * hiddenSize;
  const recorded = Array.from({ length: numLayers }, () => new Float32Array(windows.length * size));
  await runner.useActivations(model, async (activations) => {
    for (const [place, window] of windows.entries()) {
      await activations.forEachLayer(window, ['blockInput'], ({ layer, blockInput }) => {
        recorded[layer]!.set(blockInput!, place * size);
      });
    }
  });
  return recorded;
}

async function gatherAttendedMoments(
  { model, runner, text, calibration }: OriginalOnText,
  groups: readonly number[][][],
  { onEvent, signal }: RunControl,
): Promise<GroupAttendedMoments[][] | undefined> {
  const { shape } = model;
  const bytes = groups.reduce((sum, ofLayer) => sum + attendedMomentsBytes(shape, ofLayer), 0);
  if (bytes > maximumMomentBytes) {
    const message = `Moments of attended values would take ${(bytes / 1e9).toFixed(1)} GB: values are fitted without them.`;
    onEvent?.({ type: 'warning', message, data: { bytes, maximumBytes: maximumMomentBytes } });
    return undefined;
  }
  const { windowLength: tokens } = calibration;
  const layers: AttendedMoments[] = [];
  for (let layer = 0; layer < shape.numLayers; layer++) {
    const weights = await readAttentionWeights(model, layer);
    layers.push(new AttendedMoments({ shape, layer, weights }, groups[layer]!));
  }
  await runner.useActivations(model, async (activations) => {
    for (const window of sample(text, calibration, attendedWindows)) {
      await activations.forEachLayer(window, ['blockInput'], ({ layer, blockInput }) => {
        throwIfAborted(signal);
        const rows = createMatrix(tokens, shape.hiddenSize, Float64Array.from(blockInput!));
        layers[layer]!.add({ rows, tokens });
      });
    }
  });
  return layers.map((layer) => layer.moments());
}

export interface SpectraRequest extends RunControl {
  model: Checkpoint;
  texts: readonly TextDocument[];
  /** Windows of at most 512 tokens. Default 8. */
  windows?: number;
  runtime?: RunnerRequest;
}

/** How many directions the caches of each layer really use on a text: eigenvalues of keys and values. */
export async function measureSpectra(request: SpectraRequest): Promise<LayerSpectra[]> {
  const { model, texts, windows: count = 8, onEvent, signal } = request;
  const length = Math.min(512, model.shape.maxPositionEmbeddings);
  const text = new CalibrationText(texts, await model.tokenizer());
  const windows = text.sample({ count, length });
  const runner = await ModelRunner.create(request.runtime ?? {}, onEvent);
  const provenance = { modelId: model.id, textHash: await text.hash(), seed: 0 };
  const statistics = await runner.collectStatistics(model, { windows, provenance, onEvent, signal });
  return statistics.layers.map(layerSpectra);
}

/** Eigenvalues of a layer's keys before and after RoPE and of its values: how many directions its cache really uses. */
export function layerSpectra(statistics: LayerStatistics): LayerSpectra {
  return {
    layer: statistics.layer,
    keysBeforeRope: spectrum(statistics.keySecondMoment),
    keysAfterRope: spectrum(statistics.rotatedKeySecondMoment),
    values: spectrum(statistics.valueSecondMoment),
  };
}

function spectrum(secondMoment: Float64Array): number[] {
  const width = Math.sqrt(secondMoment.length);
  const { values } = eigSymmetric(createMatrix(width, width, secondMoment));
  return Array.from(values, (value) => Math.max(0, value));
}
