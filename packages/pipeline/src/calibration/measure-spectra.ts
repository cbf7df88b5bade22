import { encodeDocuments, hashTexts, randomWindows, type TextDocument } from '@kvlr/calibration';
import type { Checkpoint, RunControl } from '@kvlr/core';
import type { LayerSpectra } from '@kvlr/report';
import { ModelRunner, type RunnerRequest } from '../models/model-runner.ts';
import { sayWhichText } from '../run/say-which-text.ts';
import { layerSpectra } from './layer-spectra.ts';

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
  const tokenIds = encodeDocuments(texts, await model.tokenizer());
  const windows = sayWhichText('calibration', () => randomWindows(tokenIds, { count, length }));
  const runner = await ModelRunner.create(request.runtime ?? {}, onEvent);
  const provenance = { modelId: model.id, textHash: await hashTexts(texts), seed: 0 };
  const statistics = await runner.collectStatistics(model, { windows, provenance, onEvent, signal });
  return statistics.layers.map(layerSpectra);
}
