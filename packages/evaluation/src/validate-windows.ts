import { KvlrError, type LogitSource } from '@kvlr/core';
import type { EvaluationWindow } from './evaluation-window.ts';

/** Checks everything that can be checked before a model runs, and returns the common length of the windows. */
export function validateWindows(
  windows: readonly EvaluationWindow[],
  model: LogitSource,
  base: LogitSource | undefined,
): number {
  const windowLength = windows[0]?.tokenIds.length;
  if (windowLength === undefined) {
    throw new KvlrError('text-empty', {
      message: 'evaluate: expected at least one window of text, got none',
      hint: 'Pass a text to evaluate on.',
    });
  }
  if (windowLength < 2) {
    throw new KvlrError('text-too-short', {
      message: `evaluate: expected windows of at least 2 tokens, got ${windowLength}`,
      data: { required: 2, available: windowLength },
    });
  }
  if (base && base.vocabSize !== model.vocabSize) {
    throw new KvlrError('tokenizer-mismatch', {
      message: `evaluate: expected the vocabulary of the base, ${base.vocabSize} entries, got a model with ${model.vocabSize}`,
      hint: 'Compare a model with the checkpoint it was made from.',
      data: { expected: base.vocabSize, received: model.vocabSize },
    });
  }
  for (const { source, tokenIds } of windows) {
    if (tokenIds.length !== windowLength) {
      throw new KvlrError('invalid-argument', {
        message: `evaluate: expected windows of equal length ${windowLength}, got one of ${tokenIds.length} in ${source}`,
        data: { expected: windowLength, received: tokenIds.length, source },
      });
    }
    const foreign = tokenIds.find((id) => id < 0 || id >= model.vocabSize);
    if (foreign !== undefined) {
      throw new KvlrError('tokenizer-mismatch', {
        message: `evaluate: expected token ids below the model's vocabulary of ${model.vocabSize}, got ${foreign} in ${source}`,
        hint: 'Encode the text with the tokenizer of this model.',
        data: { vocabSize: model.vocabSize, tokenId: foreign, source },
      });
    }
  }
  return windowLength;
}
