import {
  type ActivationSource,
  type CalibrationStatistics,
  KvlrError,
  type RunControl,
  type StatisticsProvenance,
  throwIfAborted,
} from '@kvlr/core';
import { ropeFrequencies } from '@kvlr/rope';
import { LayerMoments, momentTaps } from './layer-moments.ts';

export interface CalibrationRequest extends RunControl {
  /** The model, run by any engine. */
  activations: ActivationSource;
  /** Windows of token ids; each is run on its own, positions from 0. */
  windows: readonly Int32Array[];
  /** Where model and windows come from; tokens and window length are added here. */
  provenance: Pick<StatisticsProvenance, 'modelId' | 'textHash' | 'seed'>;
}

/**
 * Runs windows through a model and gathers each layer's second moments and means (core's `LayerStatistics`): of the block's input,
 * the keys before and after RoPE, the values, the queries of each head before and after RoPE, and the attended values.
 * Activations are float32, sums Float64. Nothing else is kept, so memory does not grow with the text.
 *
 * Throws 'text-empty' (no windows), 'tokenizer-mismatch' (ids outside the vocabulary), 'tensor-shape' and 'non-finite'
 * (activations, naming layer and tap), 'aborted'.
 */
export async function collectStatistics(request: CalibrationRequest): Promise<CalibrationStatistics> {
  const { activations, windows, provenance, onEvent, signal } = request;
  const { shape } = activations;
  requireWindows(windows, shape.vocabSize);
  const frequencies = ropeFrequencies(shape.rope, shape.headDim);
  const layers = shape.layers.map((_, layer) => new LayerMoments(shape, layer, frequencies));
  for (const [index, window] of windows.entries()) {
    throwIfAborted(signal);
    await activations.forEachLayer(window, momentTaps, (layer) => {
      throwIfAborted(signal);
      layers[layer.layer]!.add(layer);
    });
    onEvent?.({ type: 'progress', stage: 'statistics', completed: index + 1, total: windows.length, unit: 'windows' });
  }
  return {
    provenance: {
      modelId: provenance.modelId,
      textHash: provenance.textHash,
      seed: provenance.seed,
      tokenCount: windows.reduce((sum, window) => sum + window.length, 0),
      windowLength: Math.max(...windows.map((window) => window.length)),
    },
    layers: layers.map((layer) => layer.statistics()),
  };
}

function requireWindows(windows: readonly Int32Array[], vocabSize: number): void {
  if (windows.length === 0 || windows.some((window) => window.length === 0)) {
    throw new KvlrError('text-empty', {
      message: 'collectStatistics: expected at least one window, each with tokens, got an empty one or none',
      hint: 'Pass a calibration text.',
    });
  }
  for (const window of windows) {
    const foreign = window.find((id) => id < 0 || id >= vocabSize);
    if (foreign === undefined) continue;
    throw new KvlrError('tokenizer-mismatch', {
      message: `collectStatistics: expected token ids below the model's vocabulary of ${vocabSize}, got ${foreign}`,
      hint: 'Encode the text with the tokenizer of this model.',
      data: { vocabSize, tokenId: foreign },
    });
  }
}
