import { KvlrError, type Tokenizer } from '@kvlr/core';
import { encodeDocuments, type TextDocument } from './text.ts';

/** What a text is for: statistics and training, or evaluation. */
export type TextPurpose = 'calibration' | 'evaluation';

/** Throws 'text-too-short' unless `available` tokens suffice: names the text, and says how many are needed and there. */
export function requireTokens(purpose: TextPurpose, available: number, required: number, source = 'the text'): void {
  if (available >= required) return;
  throw new KvlrError('text-too-short', {
    message: `expected at least ${required} tokens in ${source}, got ${available}`,
    hint: 'Pass more text, or ask for fewer or shorter windows.',
    where: { argument: `${purpose} text` },
    data: { required, available, purpose },
  });
}

/** Windows side by side from the beginning of a stream of tokens, at most `count`; a rest shorter than a window is left out. */
export function consecutiveWindows(
  tokenIds: Int32Array,
  length: number,
  count = Number.POSITIVE_INFINITY,
): Int32Array[] {
  const fitting = Math.min(count, Math.floor(tokenIds.length / length));
  return Array.from({ length: fitting }, (_, index) => tokenIds.slice(index * length, (index + 1) * length));
}

export interface SourceWindowSettings {
  /** Tokens of a window. Default 513: 512 predictions. */
  length?: number;
  /** At most this many windows of each source, from its beginning. Default 24. */
  windowsPerSource?: number;
}

/** A window of tokens and the source of its text. */
export interface SourceWindow {
  source: string;
  tokenIds: Int32Array;
}

/**
 * Windows to evaluate on: the documents of each source are encoded, concatenated in their order and cut side by side, without
 * overlap. The defaults are kvlr's evaluation.
 *
 * @throws KvlrError 'text-too-short' for a source that does not fill one window: it names the source, and the text as the evaluation's
 * (`where.argument` 'evaluation text', `data.purpose` 'evaluation').
 */
export function windowsBySource(
  documents: readonly TextDocument[],
  tokenizer: Tokenizer,
  settings: SourceWindowSettings = {},
): SourceWindow[] {
  const { length = 513, windowsPerSource = 24 } = settings;
  const sources = [...new Set(documents.map((document) => document.source))];
  return sources.flatMap((source) => {
    const ofSource = documents.filter((document) => document.source === source);
    // The text has to fill a window even where none is asked for.
    const tokenIds = encodeDocuments(ofSource, tokenizer, length * Math.max(1, windowsPerSource));
    requireTokens('evaluation', tokenIds.length, length, source);
    return consecutiveWindows(tokenIds, length, windowsPerSource).map((window) => ({ source, tokenIds: window }));
  });
}
