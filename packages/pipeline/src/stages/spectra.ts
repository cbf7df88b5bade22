import { CalibrationText, type TextDocument } from '@kvlr/calibration';
import type { Checkpoint, LayerStatistics, RunControl } from '@kvlr/core';
import { createMatrix, eigSymmetric } from '@kvlr/linalg';
import type { LayerSpectra } from '@kvlr/report';
import { ModelRunner, type RunnerRequest } from '../models/runner.ts';

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
