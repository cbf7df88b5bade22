import { type SourceWindow, type TextDocument, windowsBySource } from '@kvlr/calibration';
import type { Tokenizer } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { sayWhichText } from '../run/say-which-text.ts';

/** The first windows of each source of the texts to judge on. */
export function evaluationWindows(
  documents: readonly TextDocument[],
  tokenizer: Tokenizer,
  { windowLength: length, windowsPerSource }: Recipe['evaluation'],
): SourceWindow[] {
  return sayWhichText('evaluation', () => windowsBySource(documents, tokenizer, { length, windowsPerSource }));
}
