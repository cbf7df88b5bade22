import { type TextDocument, windowsBySource } from '@kvlr/calibration';
import {
  type CacheDtype,
  type Checkpoint,
  cacheSize,
  codedCacheSize,
  type EvaluationResult,
  KvlrError,
  type LogitSource,
  type PartOfWindows,
  type RunControl,
} from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { cachedLogits, type EvaluationWindow, evaluate } from '@kvlr/evaluation';
import { attentionDtype, cacheElementBytes } from '../models/facts.ts';
import { ModelRunner, type RunnerRequest } from '../models/runner.ts';
import { windowsOfPart } from '../part-of-windows.ts';
import { fitWindows } from '../recipe.ts';
import { RunContext, type Stage } from '../run/context.ts';
import { MemoryRunStore } from '../run/store.ts';

interface CommonRequest extends RunControl {
  model: Checkpoint;
  texts: readonly TextDocument[];
  windows: Recipe['evaluation'];
  runtime?: RunnerRequest;
}

export interface CheckpointEvaluationRequest extends CommonRequest {
  /** The model it was made from: adds KL divergence, agreement and the perplexity ratio. */
  base?: Checkpoint;
  /** Default: all windows. Results of parts are put together by `mergeResults` of `@kvlr/evaluation`. */
  part?: PartOfWindows | undefined;
}

/**
 * Perplexity of a checkpoint on texts, by source, and its distance from another one. What `kvlr eval` does.
 *
 * @throws KvlrError 'invalid-argument' for a part without windows, 'tokenizer-mismatch' when the two encode the texts differently,
 * 'usage' when windows are longer than the context.
 */
export async function evaluateCheckpoint(request: CheckpointEvaluationRequest): Promise<EvaluationResult> {
  const { model, base, part } = request;
  const fitted = fitRequest(request, base === undefined ? [model] : [model, base]);
  const windows = windowsOfPart(await cutWindows(fitted, model), part);
  if (base) {
    const windowsOfBase = windowsOfPart(await cutWindows(fitted, base), part);
    const same = windows.every(({ tokenIds }, index) => tokenIds.join() === windowsOfBase[index]?.tokenIds.join());
    if (!same) throw differentTokenizers(model, base);
  }
  const runner = await ModelRunner.create(request.runtime ?? {}, request.onEvent);
  const cache = cacheSize(model.shape, cacheElementBytes(attentionDtype(model)));
  const settings = { modelId: model.id, baseModelId: base?.id, windows, cache, compare: runner.compareLogits };
  const inputs = windows.map(({ tokenIds }) => tokenIds.slice(0, -1));
  const result = await evaluationStage(request, windows, ({ control }) =>
    runner.use(
      model,
      inputs,
      (decoder) => {
        const against = (baseDecoder?: LogitSource) =>
          evaluate({ ...control, ...settings, model: decoder, base: baseDecoder });
        return base ? runner.use(base, inputs, against, control) : against();
      },
      control,
    ),
  );
  return { ...result, ...(part && { part }) };
}

export interface CacheDtypesRequest extends CommonRequest {
  /** Besides f32, which the others are measured against. */
  dtypes: readonly CacheDtype[];
}

/** What a model scores with its KV cache kept in one dtype. */
export interface CacheDtypeEvaluation {
  dtype: CacheDtype;
  /** Against the same model with a cache of f32, unless it is that one. */
  evaluation: EvaluationResult;
}

/**
 * What it costs to keep the KV cache in fewer bits: perplexity with every key and value read back from a cache of each dtype, as in
 * generating, and the distance from the same weights with a cache of f32, paired over windows. Weights are float32 throughout.
 * What `kvlr eval --cache-dtype` does.
 *
 * @returns f32 first, then the others in the order in which they were given.
 * @throws KvlrError 'usage' when windows are longer than the context.
 */
export async function evaluateCacheDtypes(request: CacheDtypesRequest): Promise<CacheDtypeEvaluation[]> {
  const { model } = request;
  const dtypes = [...new Set<CacheDtype>(['f32', ...request.dtypes])];
  const windows = await cutWindows(fitRequest(request, [model]), model);
  const runner = await ModelRunner.create(request.runtime ?? {}, request.onEvent);

  const evaluateIn = async (stage: Stage, part: number, logits: LogitSource, base?: LogitSource) => {
    const dtype = dtypes[part]!;
    const evaluation = await evaluate({
      ...stage.part(part, dtypes.length),
      ...{ model: logits, modelId: model.id, base, baseModelId: base && model.id, windows },
      cache: codedCacheSize(model.shape, dtype),
    });
    return { dtype, evaluation };
  };
  return evaluationStage(request, windows, (stage) =>
    runner.useCached(model, 'f32', async (decoder) => {
      const base = cachedLogits(decoder);
      const evaluated = [await evaluateIn(stage, 0, base)];
      for (const [place, dtype] of dtypes.slice(1).entries()) {
        evaluated.push(await runner.useCached(model, dtype, (coded) => evaluateIn(stage, place + 1, coded, base)));
      }
      return evaluated;
    }),
  );
}

/** The request with windows that every model has positions for, see `fitWindows`. */
function fitRequest<Request extends CommonRequest>(request: Request, models: readonly Checkpoint[]): Request {
  const maxPositionEmbeddings = Math.min(...models.map(({ shape }) => shape.maxPositionEmbeddings));
  const { evaluation: windows } = fitWindows({ evaluation: request.windows }, { maxPositionEmbeddings });
  return { ...request, windows };
}

/** Windows of a checkpoint's tokens; throws 'usage' for windows that it has no positions for, and 'text-too-short'. */
async function cutWindows({ texts, windows }: CommonRequest, checkpoint: Checkpoint): Promise<EvaluationWindow[]> {
  const { windowLength: length, windowsPerSource } = windows;
  const positions = checkpoint.shape.maxPositionEmbeddings;
  // The last token of a window is only predicted: it needs no position.
  if (length - 1 > positions) {
    throw new KvlrError('usage', {
      message: `expected windows of at most ${positions + 1} tokens for ${checkpoint.location}, got ${length}`,
      hint: `Choose shorter windows: the model knows ${positions} positions.`,
      where: { argument: 'windowLength' },
      data: { maxPositionEmbeddings: positions, windowLength: length },
    });
  }
  return windowsBySource(texts, await checkpoint.tokenizer(), { length, windowsPerSource });
}

/** An evaluation outside a compression: announced like a stage, and nothing of it is kept. */
function evaluationStage<Value>(
  control: RunControl,
  windows: readonly EvaluationWindow[],
  work: (stage: Stage) => Promise<Value>,
): Promise<Value> {
  const count = windows.length.toLocaleString('en-US');
  const title = `Perplexity on ${count} windows of ${windows[0]?.tokenIds.length ?? 0} tokens`;
  return new RunContext(new MemoryRunStore(), control, false).stage('evaluation', title, work);
}

function differentTokenizers(model: Checkpoint, base: Checkpoint): KvlrError {
  return new KvlrError('tokenizer-mismatch', {
    message: `expected ${model.location} and ${base.location} to encode the text equally, got other tokens`,
    hint: 'Compare a model with the checkpoint it was made from.',
    data: { file: model.location, base: base.location },
  });
}
