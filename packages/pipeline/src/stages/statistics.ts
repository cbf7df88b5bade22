import { CalibrationText, statisticsFromBundle, statisticsToBundle, type TextDocument } from '@kvlr/calibration';
import {
  AttendedMoments,
  attendedMomentsBytes,
  type BlockInputs,
  type GroupAttendedMoments,
  readAttentionWeights,
} from '@kvlr/compression';
import {
  type Checkpoint,
  KvlrError,
  type LayerStatistics,
  type ModelSource,
  type RunControl,
  type StatisticsProvenance,
  throwIfAborted,
} from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { createMatrix, eigSymmetric } from '@kvlr/linalg';
import type { LayerSpectra } from '@kvlr/report';
import { once } from '../models/once.ts';
import { ModelRunner, type RunnerRequest } from '../models/runner.ts';
import type { WindowStream } from '../models/window-stream.ts';
import { type ArtefactKey, bundleCodec, type Codec } from '../run/artefact.ts';
import type { RunContext } from '../run/context.ts';
import { artefactNames } from '../run/store.ts';

/** The original model, and the calibration text that it is run on. */
export interface OriginalOnText {
  model: ModelSource;
  runner: ModelRunner;
  text: CalibrationText;
  calibration: Recipe['calibration'];
}

/** Second moments of a model's layers over calibration text, each read when it is asked for. */
export interface ModelStatistics {
  provenance: StatisticsProvenance;
  layer(layer: number): Promise<LayerStatistics>;
}

/** Throws 'run-mismatch' where statistics are of another model than this one. */
export function requireModel(
  { provenance }: Pick<ModelStatistics, 'provenance'>,
  model: Pick<ModelSource, 'id'> & { name: string },
  name: string,
): void {
  if (provenance.modelId === model.id) return;
  throw new KvlrError('run-mismatch', {
    message: `expected statistics of the same model as ${model.name}, got those of another in ${name}`,
    hint: 'Use only statistics of the same checkpoint together.',
    where: { file: name },
    data: { expected: model.id, received: provenance.modelId },
  });
}

/** Stage 1: second moments of every layer over the calibration text, gathered and kept layer by layer. */
export async function gatherStatistics(
  context: RunContext,
  { model, runner, text, calibration, textHash, key }: OriginalOnText & { textHash: string; key: ArtefactKey },
): Promise<ModelStatistics> {
  const { windows: count, windowLength, seed } = calibration;
  const provenance = { modelId: model.id, textHash, seed, tokenCount: count * windowLength, windowLength };
  const stage = {
    stage: 'statistics' as const,
    title: 'Second moments over the calibration text',
    name: artefactNames.statistics,
    numLayers: model.shape.numLayers,
    key,
    codec: layerStatisticsCodec(provenance),
    detail: () => `${provenance.tokenCount.toLocaleString('en-US')} tokens in ${count} windows`,
  };
  const layer = await context.cachedLayers(stage, ({ control }, from, keep) =>
    runner.gatherStatistics(model, { ...control, windows: sampleWindows(text, calibration), provenance, from, keep }),
  );
  return { provenance, layer };
}

/** One layer's statistics as an artefact. */
export function layerStatisticsCodec(provenance: StatisticsProvenance): Codec<LayerStatistics> {
  return bundleCodec<LayerStatistics>(
    (layer) => statisticsToBundle({ provenance, layers: [layer] }),
    (bundle) => statisticsFromBundle(bundle).layers[0]!,
  );
}

/** The windows that statistics are gathered on, or the first of them. */
export function sampleWindows(
  text: CalibrationText,
  { windows, windowLength: length, seed }: Recipe['calibration'],
  most = windows,
) {
  return text.sample({ count: Math.min(most, windows), length, seed });
}

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
  const spectra: LayerSpectra[] = [];
  const keep = async (layer: LayerStatistics) => void spectra.push(layerSpectra(layer));
  await runner.gatherStatistics(model, { windows, provenance, onEvent, signal, keep });
  return spectra;
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
