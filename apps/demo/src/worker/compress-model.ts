import { cacheSize, type DecoderShape, type RunControl } from '@kvlr/core';
import { type CompressionResult, compress, type RunStore } from '@kvlr/pipeline';
import { referenceModelCard } from '@kvlr/reference-model';
import type { BackendRequest } from '@kvlr/runtime';
import type { ModelFacts, Side } from '../messages.ts';
import { type DemoSettings, recipeOfSettings } from '../settings.ts';
import type { ReferenceModel } from './load-reference-model.ts';

/** The runtime holds its cache in float32. */
const bytesPerElement = 4;

interface DemoCompressionRequest extends RunControl {
  reference: ReferenceModel;
  settings: DemoSettings;
  store: RunStore;
  runtime: Pick<BackendRequest, 'backend' | 'wasmPaths'>;
}

interface DemoCompression {
  model: CompressionResult['model'];
  facts: Record<Side, ModelFacts>;
  evaluatedTokens: number;
  topOneAgreement: number;
}

/** Runs kvlr's pipeline on the embedded model, as `kvlr compress` does, and states both models' cache and quality. */
export async function compressModel(request: DemoCompressionRequest): Promise<DemoCompression> {
  const { reference, settings, store, runtime, onEvent, signal } = request;
  const { model, evaluation } = await compress({
    model: reference.checkpoint,
    modelName: referenceModelCard.name,
    recipe: recipeOfSettings(settings),
    texts: { calibration: reference.calibration, evaluation: reference.validation },
    ...{ store, runtime, onEvent, signal },
  });
  const { base, result } = evaluation;
  const { perplexityRatio, topOneAgreement } = result.againstBase!;
  return {
    model,
    facts: {
      original: { ...cacheFacts(reference.checkpoint.shape), perplexity: base.perplexity },
      compressed: { ...cacheFacts(model.shape), perplexity: result.perplexity, perplexityRatio },
    },
    evaluatedTokens: result.tokenCount,
    topOneAgreement: topOneAgreement.value,
  };
}

function cacheFacts(shape: DecoderShape): Omit<ModelFacts, 'perplexity' | 'perplexityRatio'> {
  return {
    numLayers: shape.numLayers,
    keyValueHeads: shape.layers[0]!.cache.keySlots,
    headDim: shape.headDim,
    bytesPerElement,
    bytesPerToken: cacheSize(shape, bytesPerElement).bytesPerToken,
  };
}
