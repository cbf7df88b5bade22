import { windowsBySource } from '@kvlr/calibration';
import { type HuggingFaceCheckpoint, loadsInto } from '@kvlr/checkpoint';
import type { KvlrEvent, ModelSource, RunControl } from '@kvlr/core';
import { compress, type RunStore } from '@kvlr/pipeline';
import { formatCount } from '@kvlr/report';
import { type BackendRequest, loadModel } from '@kvlr/runtime';
import {
  cacheCodecs,
  evaluateCodecs,
  type LoadLogits,
  measuredOn,
  partOf,
  recordOf,
  withBaseLogits,
} from '../evaluate-codecs.ts';
import type { KeptResult } from '../messages.ts';
import { describePictures } from '../pictures.ts';
import { type DemoSettings, fitSettings, recipeOfSettings } from '../settings.ts';
import type { EmbeddedTexts } from './load-embedded.ts';

interface DemoCompressionRequest extends RunControl {
  original: HuggingFaceCheckpoint;
  modelName: string;
  texts: EmbeddedTexts;
  settings: DemoSettings;
  store: RunStore;
  runtime: Pick<BackendRequest, 'backend' | 'wasmPaths'>;
}

interface DemoCompression {
  /** As it will be written: rounded to the source's type. */
  model: ModelSource;
  result: KeptResult;
}

/** Name of the record of what the visitor compressed. */
export const ownPair = 'own';

const titles: Record<DemoSettings['repair'], string> = {
  none: 'closed forms alone',
  refit: 'closed forms, outputs refitted',
  light: 'light block reconstruction',
};

/** Runs kvlr's pipeline, as `kvlr compress` does, and measures both models with their caches in every codec. */
export async function compressModel(request: DemoCompressionRequest): Promise<DemoCompression> {
  const { original, modelName, texts, store, runtime, onEvent, signal } = request;
  const settings = fitSettings(request.settings, original.shape);
  const started = performance.now();
  const run = await compress({
    ...{ model: original, modelName, texts, store, runtime, signal },
    recipe: recipeOfSettings(settings),
    // The run's own evaluation is a formality here: the measurement that counts comes behind it.
    onEvent: (event) => isEvaluation(event) || onEvent?.(event),
  });
  const length = settings.windowLength + 1;
  const windowsPerSource = settings.evaluationWindows;
  const windows = windowsBySource(texts.evaluation, await original.tokenizer(), { length, windowsPerSource });
  const evaluated = performance.now();
  onEvent?.({ type: 'stage-started', stage: 'evaluation', title: 'Evaluation' });
  const load: LoadLogits = (model, cache) =>
    loadModel(model, { ...runtime, ...(cache && { weights: 'f32', cache }), signal });
  const records = await withBaseLogits(original, load, async (baseLogits) => {
    const common = { base: original, baseLogits, windows, load, signal };
    const base = await evaluateCodecs({ ...common, model: original, onEvent: partOf(onEvent, 0, 2) });
    const scores = await evaluateCodecs({ ...common, model: run.writtenModel, onEvent: partOf(onEvent, 1, 2) });
    const headWidth = run.writtenModel.shape.headDim / original.shape.headDim;
    const pictures = await describePictures({ ...run, statistics: run.statistics!, shape: original.shape, headWidth });
    const keep = (run.writtenModel.shape.layers[0]!.cache.keySlots * headWidth) / original.shape.numKeyValueHeads;
    return [
      recordOf(original, { name: 'all', keep: 1, scores: base }),
      recordOf(run.writtenModel, { name: ownPair, keep, scores, pictures }),
    ];
  });
  const seconds = (performance.now() - evaluated) / 1000;
  onEvent?.({ type: 'stage-finished', stage: 'evaluation', seconds, skipped: false });
  const measured = measuredOn(original, windows);
  return {
    model: run.writtenModel,
    result: {
      set: { modelName, numLayers: original.shape.numLayers, measured, codecs: [...cacheCodecs], records },
      seconds: (performance.now() - started) / 1000,
      title: `${titles[settings.repair]}, statistics on ${formatCount(settings.calibrationWindows * settings.windowLength)} tokens`,
      ggufReason: loadsInto(run.writtenModel.shape, original.architecture, original.config).ggufReason,
    },
  };
}

function isEvaluation(event: KvlrEvent): boolean {
  return 'stage' in event && event.stage === 'evaluation';
}
