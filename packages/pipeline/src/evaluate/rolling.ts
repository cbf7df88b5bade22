import type { TextDocument } from '@kvlr/calibration';
import { KvlrError, throwIfAborted } from '@kvlr/core';
import { aggregate, comparePaired, type MetricEstimate, type PairedDifference, rollingWindows } from '@kvlr/tasks';
import { type AskedModel, askModel } from './task-stage.ts';

export interface RollingRequest extends AskedModel {
  texts: readonly TextDocument[];
  /** Tokens that are read at once. Default: all that the model has positions for. */
  windowLength?: number | undefined;
  /** Tokens that every window but the first predicts, from 1 to `windowLength`. Default: `windowLength`. */
  stride?: number | undefined;
}

/** What a model scored on whole texts, each predicted to its last token. */
export interface RollingEvaluation {
  windowLength: number;
  stride: number;
  tokenCount: number;
  wordCount: number;
  byteCount: number;
  /** exp of minus the log-likelihood a token, a word and a byte; and log2 a byte. Errors are over documents. */
  perplexity: MetricEstimate;
  wordPerplexity: MetricEstimate;
  bytePerplexity: MetricEstimate;
  bitsPerByte: MetricEstimate;
  /** Document by document, for paired differences: log-likelihood and bytes. */
  documents: (readonly [logLikelihood: number, bytes: number])[];
}

/**
 * Perplexity of whole texts as the field measures it: windows side by side, as lm-evaluation-harness's `loglikelihood_rolling`, or with a
 * stride below the window, as transformers' guide to perplexity, where tokens see more of the text before them. Words are what
 * stands between white space, bytes those of UTF-8. What `kvlr eval --stride` does.
 *
 * @throws KvlrError 'usage' for a window that the model has no positions for, or a stride that does not fit it; 'aborted'.
 */
export async function evaluateRolling(request: RollingRequest): Promise<RollingEvaluation> {
  const positions = request.model.shape.maxPositionEmbeddings;
  const windowLength = checkedLength('windowLength', request.windowLength ?? positions, positions);
  const stride = checkedLength('stride', request.stride ?? windowLength, windowLength);
  const title = `Perplexity of ${request.texts.length} whole texts, windows of ${windowLength} tokens, stride ${stride}`;
  return askModel(request, title, async ({ taskModel, tokenizer }) => {
    const scored: { logLikelihood: number; tokens: number; words: number; bytes: number }[] = [];
    for (const { text, source } of request.texts) {
      throwIfAborted(request.signal);
      const ids = tokenizer.encode(text);
      const scores = await taskModel.score(rollingWindows(ids, tokenizer, windowLength, stride));
      const logLikelihood = scores.reduce((sum, score) => sum + score.logLikelihood, 0);
      const bytes = new TextEncoder().encode(text).length;
      scored.push({ logLikelihood, tokens: ids.length, words: text.split(/\s+/).length, bytes });
      const progress = { completed: scored.length, total: request.texts.length, unit: 'texts', detail: source };
      request.onEvent?.({ type: 'progress', stage: 'evaluation', ...progress });
    }
    const sumOf = (unit: 'tokens' | 'words' | 'bytes') => scored.reduce((sum, document) => sum + document[unit], 0);
    const pairs = (unit: 'tokens' | 'words' | 'bytes') =>
      scored.map((document) => [document.logLikelihood, document[unit]] as const);
    return {
      windowLength,
      stride,
      tokenCount: sumOf('tokens'),
      wordCount: sumOf('words'),
      byteCount: sumOf('bytes'),
      perplexity: aggregate('perplexity', pairs('tokens')),
      wordPerplexity: aggregate('word_perplexity', pairs('words')),
      bytePerplexity: aggregate('byte_perplexity', pairs('bytes')),
      bitsPerByte: aggregate('bits_per_byte', pairs('bytes')),
      documents: pairs('bytes'),
    };
  });
}

/** Bits per byte of the first minus those of the second, paired over documents. */
export function compareRolling(first: RollingEvaluation, second: RollingEvaluation): PairedDifference {
  return comparePaired('bits_per_byte', first.documents, second.documents);
}

function checkedLength(argument: string, length: number, most: number): number {
  if (Number.isInteger(length) && length >= 1 && length <= most) return length;
  throw new KvlrError('usage', {
    message: `expected a whole number of tokens from 1 to ${most}, got ${length}`,
    hint: argument === 'stride' ? 'A stride is at most a window.' : `The model knows ${most} positions.`,
    where: { argument },
    data: { [argument]: length, most },
  });
}
