import type { Tokenizer } from '@kvlr/core';
import type { TextDocument } from '../text/text-document.ts';
import { consecutiveWindows } from './consecutive-windows.ts';
import { encodeDocuments } from './encode-documents.ts';
import { requireTokens } from './require-tokens.ts';

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
 * Windows to evaluate on: the documents of each source are encoded, concatenated in their order and cut side by side. The
 * defaults are kvlr's evaluation. Throws 'text-too-short' for a source that does not fill one window, naming it.
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
    const tokenIds = encodeDocuments(ofSource, tokenizer);
    requireTokens('windowsBySource', tokenIds.length, length, source);
    return consecutiveWindows(tokenIds, { length, count: windowsPerSource }).map((window) => ({
      source,
      tokenIds: window,
    }));
  });
}
