import type { Tokenizer } from '@kvlr/core';
import type { TextDocument } from '../text/text-document.ts';

/**
 * The documents as one stream of token ids: each one between the tokenizer's beginning-of-sequence and (first) end-of-sequence
 * id, as far as the tokenizer has them.
 */
export function encodeDocuments(documents: readonly TextDocument[], tokenizer: Tokenizer): Int32Array {
  const before = tokenizer.beginOfSequenceId === undefined ? [] : [tokenizer.beginOfSequenceId];
  const after = tokenizer.endOfSequenceIds.slice(0, 1);
  const pieces = documents.flatMap(({ text }) => [before, tokenizer.encode(text), after]);
  const stream = new Int32Array(pieces.reduce((length, piece) => length + piece.length, 0));
  let position = 0;
  for (const piece of pieces) {
    stream.set(piece, position);
    position += piece.length;
  }
  return stream;
}
