import {
  type CacheSize,
  type EvaluationResult,
  KvlrError,
  type LogitSource,
  mapInOrder,
  type RunControl,
  type WindowScores,
} from '@kvlr/core';
import { compareLogits, type LogitComparison, scoreLogits } from './logits.ts';
import { summariseScores } from './summarise-scores.ts';

/** A piece of text to predict: all tokens but the first are predicted from the window's own earlier tokens. */
export interface EvaluationWindow {
  source: string;
  tokenIds: Int32Array;
}

export interface EvaluationRequest extends RunControl {
  model: LogitSource;
  modelId: string;
  /** The original model. `cachedLogits` spares running it again for every candidate. */
  base?: LogitSource;
  baseModelId?: string;
  /** Compares the logits of a window in the place of this thread, to the same numbers. Both arrays stay the caller's. */
  compare?: CompareLogits | undefined;
  /** Windows of equal length, at least 2 tokens, in any order. */
  windows: readonly EvaluationWindow[];
  /** Size of the model's cache, from core's `cacheSize`. */
  cache: CacheSize;
}

/** `compareLogits`, wherever it runs. */
export type CompareLogits = (...compared: Parameters<typeof compareLogits>) => Promise<LogitComparison>;

interface WindowScore {
  source: string;
  negativeLogLikelihood: number;
  /** Present when there is a base. */
  comparison?: LogitComparison;
}

/**
 * Perplexity = exp(mean negative log-likelihood), overall and by source of text; against a base also the mean KL(base || model)
 * per token, the share of equal first choices and the paired perplexity ratio. Standard errors are over windows (`estimateMean`),
 * those of perplexities by the delta method.
 *
 * Throws 'text-empty', 'text-too-short', 'invalid-argument', 'tokenizer-mismatch' (windows or vocabularies that do not fit),
 * 'tensor-shape' and 'non-finite' (logits), 'aborted'.
 */
export async function evaluate(request: EvaluationRequest): Promise<EvaluationResult> {
  const { windows, model, base } = request;
  const windowLength = validateWindows(windows, model, base);
  const scores = await mapInOrder({
    items: windows,
    concurrency: Math.min(model.concurrency ?? 1, base?.concurrency ?? Number.POSITIVE_INFINITY),
    signal: request.signal,
    work: (window) => scoreWindow(request, window),
    onResult: (_, index) =>
      request.onEvent?.({
        type: 'progress',
        stage: 'evaluation',
        completed: index + 1,
        total: windows.length,
        unit: 'windows',
        detail: windows[index]!.source,
      }),
  });

  const result = summariseScores(listScores(scores, windowLength - 1), {
    modelId: request.modelId,
    baseModelId: base && (request.baseModelId ?? 'base'),
    windowLength,
    cache: request.cache,
  });
  const { perplexity } = result;
  if (Math.abs(perplexity.value / model.vocabSize - 1) < EQUAL_TO_GUESSING) {
    request.onEvent?.({
      type: 'warning',
      message: `Perplexity ${perplexity.value.toPrecision(4)} is that of guessing among all ${model.vocabSize} tokens: the model says the same whatever it reads.`,
      data: { modelId: request.modelId, perplexity: perplexity.value, vocabSize: model.vocabSize },
    });
  }
  return result;
}

/** Relative to the size of the vocabulary, to which the perplexity of a model is equal that gives every token the same chance. */
const EQUAL_TO_GUESSING = 1e-3;

function listScores(scores: readonly WindowScore[], tokensPerWindow: number): WindowScores {
  const comparisons = scores.flatMap(({ comparison }) => (comparison ? [comparison] : []));
  const means = (read: (comparison: LogitComparison) => number) =>
    comparisons.map((comparison) => read(comparison) / tokensPerWindow);
  return {
    sources: scores.map(({ source }) => source),
    negativeLogLikelihoods: scores.map((score) => score.negativeLogLikelihood / tokensPerWindow),
    ...(comparisons.length > 0 && {
      baseNegativeLogLikelihoods: means((window) => window.baseNegativeLogLikelihood),
      klDivergences: means((window) => window.klDivergence),
      topOneAgreements: means((window) => window.topOneAgreements),
    }),
  };
}

async function scoreWindow(request: EvaluationRequest, window: EvaluationWindow): Promise<WindowScore> {
  const { model, base, compare = compareLogits } = request;
  const { source, tokenIds } = window;
  const inputs = tokenIds.slice(0, -1);
  const targets = tokenIds.slice(1);
  if (!base) {
    const negativeLogLikelihood = await readLoss(model, inputs, targets);
    requireFinite(negativeLogLikelihood, request.modelId, window);
    return { source, negativeLogLikelihood };
  }
  const logits = await readLogits(model, inputs);
  const baseLogits = await readLogits(base, inputs);
  const comparison = await compare(logits, baseLogits, targets, model.vocabSize);
  requireFinite(comparison.baseNegativeLogLikelihood, request.baseModelId ?? 'base', window);
  requireFinite(comparison.negativeLogLikelihood, request.modelId, window);
  return { source, negativeLogLikelihood: comparison.negativeLogLikelihood, comparison };
}

/** Sum over a window, in Float64; what each position loses may come from the device. */
async function readLoss(model: LogitSource, inputs: Int32Array, targets: Int32Array): Promise<number> {
  if (model.losses === undefined) return scoreLogits(await readLogits(model, inputs), targets, model.vocabSize);
  const losses = await model.losses(inputs, targets);
  if (losses.length === targets.length) return losses.reduce((sum, loss) => sum + loss, 0);
  throw new KvlrError('tensor-shape', {
    message: `expected ${targets.length} losses, one a position, got ${losses.length}`,
    data: { expected: targets.length, received: losses.length },
  });
}

async function readLogits(model: LogitSource, inputs: Int32Array): Promise<Float32Array> {
  const logits = await model.logits(inputs);
  const expected = inputs.length * model.vocabSize;
  if (logits.length !== expected) {
    throw new KvlrError('tensor-shape', {
      message: `expected ${inputs.length} x ${model.vocabSize} = ${expected} logits, got ${logits.length}`,
      data: { expected, received: logits.length },
    });
  }
  return logits;
}

function requireFinite(value: number, modelId: string, window: EvaluationWindow): void {
  if (Number.isFinite(value)) return;
  throw new KvlrError('non-finite', {
    message: `expected finite logits, got NaN or infinity from model ${modelId} in a window of ${window.source}`,
    hint: 'Check the weights of the model for NaN, and try another backend.',
    data: { modelId, source: window.source },
  });
}

/** Checks everything that can be checked before a model runs, and returns the common length of the windows. */
function validateWindows(
  windows: readonly EvaluationWindow[],
  model: LogitSource,
  base: LogitSource | undefined,
): number {
  const windowLength = windows[0]?.tokenIds.length;
  if (windowLength === undefined) {
    throw new KvlrError('text-empty', {
      message: 'expected at least one window of text, got none',
      hint: 'Pass a text to evaluate on.',
    });
  }
  if (windowLength < 2) {
    throw new KvlrError('text-too-short', {
      message: `expected windows of at least 2 tokens, got ${windowLength}`,
      data: { required: 2, available: windowLength },
    });
  }
  if (base && base.vocabSize !== model.vocabSize) {
    throw new KvlrError('tokenizer-mismatch', {
      message: `expected the vocabulary of the base, ${base.vocabSize} entries, got a model with ${model.vocabSize}`,
      hint: 'Compare a model with the checkpoint it was made from.',
      data: { expected: base.vocabSize, received: model.vocabSize },
    });
  }
  for (const { source, tokenIds } of windows) {
    if (tokenIds.length !== windowLength) {
      throw new KvlrError('invalid-argument', {
        message: `expected windows of equal length ${windowLength}, got one of ${tokenIds.length} in ${source}`,
        data: { expected: windowLength, received: tokenIds.length, source },
      });
    }
    const foreign = tokenIds.find((id) => id < 0 || id >= model.vocabSize);
    if (foreign !== undefined) {
      throw new KvlrError('tokenizer-mismatch', {
        message: `expected token ids below the model's vocabulary of ${model.vocabSize}, got ${foreign} in ${source}`,
        hint: 'Encode the text with the tokenizer of this model.',
        data: { vocabSize: model.vocabSize, tokenId: foreign, source },
      });
    }
  }
  return windowLength;
}

/** Bytes of KV cache that one sequence takes at a context length. */
export interface CacheBytes {
  context: number;
  bytes: number;
}

/** Exact bytes of KV cache of one sequence at each context length (in tokens). */
export function cacheBytesByContext(cache: CacheSize, contexts: readonly number[]): CacheBytes[] {
  return contexts.map((context) => ({ context, bytes: cache.bytesPerToken * context }));
}
