import { KvlrError, type Tokenizer } from '@kvlr/core';
import type { ContinuationText } from '../prompts/prompts.ts';
import type { ScoredSequence } from './task-model.ts';

/**
 * Tokens of a context with a continuation, as lm-evaluation-harness 0.4.13 splits them (`TemplateLM._encode_pair`): spaces at the end of
 * the context go to the continuation, both are encoded together, and what is more than the context's own tokens is the continuation.
 * Too long a text loses its beginning.
 *
 * @throws KvlrError 'text-empty' for a continuation without tokens, or with none after truncation.
 */
export function encodeContinuation(
  { context, continuation }: ContinuationText,
  tokenizer: Tokenizer,
  maxPositions: number,
): ScoredSequence {
  const ids = context === '' ? encodeAlone(continuation, tokenizer) : encodePair(context, continuation, tokenizer);
  const { all, contextLength } = ids;
  const start = Math.max(0, all.length - (maxPositions + 1));
  const from = Math.max(1, contextLength - start);
  if (all.length > contextLength) return { tokenIds: Int32Array.from(all.slice(start)), from };
  throw new KvlrError('text-empty', {
    message: `expected tokens in the continuation ${JSON.stringify(continuation.slice(0, 80))}, got none`,
    hint: 'Check doc_to_choice or doc_to_target, and target_delimiter.',
  });
}

interface EncodedPair {
  all: number[];
  contextLength: number;
}

function encodePair(context: string, continuation: string, tokenizer: Tokenizer): EncodedPair {
  const kept = context.trimEnd();
  const whole = encodeText(kept + context.slice(kept.length) + continuation, tokenizer);
  return { all: whole, contextLength: encodeText(kept, tokenizer).length };
}

/** Without a context the continuation stands behind the token that begins texts, or ends them where none begins them. */
function encodeAlone(continuation: string, tokenizer: Tokenizer): EncodedPair {
  const ids = tokenizer.encode(continuation);
  const before = firstContextId(tokenizer);
  return { all: ids[0] === before ? ids : [before, ...ids], contextLength: 1 };
}

/** A text as the model reads it from its beginning. */
export function encodeText(text: string, tokenizer: Tokenizer): number[] {
  return [...tokenizer.prefixIds, ...tokenizer.encode(text)];
}

function firstContextId(tokenizer: Tokenizer): number {
  return tokenizer.prefixIds.at(-1) ?? tokenizer.endOfSequenceIds[0] ?? 0;
}

/**
 * Windows that predict every token of a text once. The first begins with the token that begins texts and predicts as many tokens as a
 * window holds; every other one predicts the next `stride` and sees what of the text fits before them. With the stride of a whole
 * window these are the harness's windows (`get_rolling_token_windows`), with a shorter one those of transformers' guide to perplexity.
 *
 * @param windowLength Tokens that are read at once, at least 1.
 * @param stride Tokens predicted by each window but the first, from 1 to `windowLength`.
 * @throws KvlrError 'invalid-argument' for other sizes.
 */
export function rollingWindows(
  textIds: readonly number[],
  tokenizer: Tokenizer,
  windowLength: number,
  stride = windowLength,
): ScoredSequence[] {
  for (const [argument, size, most] of [
    ['windowLength', windowLength, 2 ** 31],
    ['stride', stride, windowLength],
  ] as const) {
    if (Number.isInteger(size) && size >= 1 && size <= most) continue;
    throw new KvlrError('invalid-argument', {
      message: `expected a whole number from 1 to ${most}, got ${size}`,
      where: { argument },
      data: { [argument]: size, most },
    });
  }
  const ids = [firstContextId(tokenizer), ...textIds];
  const windows: ScoredSequence[] = [];
  for (let predicted = 1; predicted < ids.length; ) {
    const count = Math.min(windows.length === 0 ? windowLength : stride, ids.length - predicted);
    const end = predicted + count;
    const start = Math.max(0, end - 1 - windowLength);
    windows.push({ tokenIds: Int32Array.from(ids.slice(start, end)), from: predicted - start });
    predicted = end;
  }
  return windows;
}
