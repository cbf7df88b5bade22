import type { TextDocument } from '@kvlr/calibration';
import {
  type Checkpoint,
  cacheSize,
  type EvaluationResult,
  KvlrError,
  type LogitSource,
  type RunControl,
} from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { evaluate } from '@kvlr/evaluation';
import { ModelRunner, type RunnerRequest } from '../models/model-runner.ts';
import { attentionDtype, cacheElementBytes } from '../stages/inspect-model.ts';
import { evaluationStage } from './evaluation-stage.ts';
import { evaluationWindows } from './evaluation-windows.ts';
import { requireContext } from './require-context.ts';

export interface CheckpointEvaluationRequest extends RunControl {
  model: Checkpoint;
  /** The model it was made from: adds KL divergence, agreement and the perplexity ratio. */
  base?: Checkpoint;
  texts: readonly TextDocument[];
  windows: Recipe['evaluation'];
  runtime?: RunnerRequest;
}

/**
 * Perplexity of a checkpoint on texts, by source, and its distance from another one. What `kvlr eval` does.
 *
 * @throws KvlrError 'tokenizer-mismatch' when the two encode the texts differently, 'usage' when windows are longer than the
 * context.
 */
export async function evaluateCheckpoint(request: CheckpointEvaluationRequest): Promise<EvaluationResult> {
  const { model, base, texts } = request;
  for (const checkpoint of base ? [model, base] : [model]) {
    requireContext('evaluateCheckpoint', checkpoint, request.windows.windowLength);
  }
  const windows = evaluationWindows(texts, await model.tokenizer(), request.windows);
  if (base) {
    const windowsOfBase = evaluationWindows(texts, await base.tokenizer(), request.windows);
    const same = windows.every(({ tokenIds }, index) => tokenIds.join() === windowsOfBase[index]?.tokenIds.join());
    if (!same) throw differentTokenizers(model, base);
  }
  const runner = await ModelRunner.create(request.runtime ?? {}, request.onEvent);
  const cache = cacheSize(model.shape, cacheElementBytes(attentionDtype(model)));
  return evaluationStage(request, windows, ({ onEvent, signal }) =>
    runner.use(model, (decoder) => {
      const against = (baseDecoder?: LogitSource) =>
        evaluate({
          model: decoder,
          modelId: model.id,
          base: baseDecoder,
          baseModelId: base?.id,
          windows,
          cache,
          onEvent,
          signal,
        });
      return base ? runner.use(base, against) : against();
    }),
  );
}

function differentTokenizers(model: Checkpoint, base: Checkpoint): KvlrError {
  return new KvlrError('tokenizer-mismatch', {
    message: `evaluateCheckpoint: expected ${model.location} and ${base.location} to encode the text equally, got other tokens`,
    hint: 'Compare a model with the checkpoint it was made from.',
    data: { file: model.location, base: base.location },
  });
}
