import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { KvlrError, type Tokenizer } from '@kvlr/core';
import type { CheckpointFiles } from '../files/checkpoint-files.ts';
import { readJsonObject } from '../files/read-json-object.ts';
import { readSpecialTokenIds } from './special-token-ids.ts';
import { parseTokenizerFile } from './tokenizer-file.ts';

/**
 * The tokenizer of a checkpoint, from tokenizer.json. `vocabSize` is the model's: an id beyond it means that tokenizer
 * and model do not belong together. Throws 'file-missing', 'file-malformed', 'tokenizer-mismatch'.
 */
export async function loadTokenizer(files: CheckpointFiles, vocabSize: number): Promise<Tokenizer> {
  const raw = await readJsonObject(files, 'tokenizer.json');
  const { vocabulary, addedTokens } = parseTokenizerFile(raw, files.location);
  for (const [token, id] of [...vocabulary, ...addedTokens.map(({ content, id }) => [content, id] as const)]) {
    if (id < vocabSize) continue;
    throw new KvlrError('tokenizer-mismatch', {
      message: `loadTokenizer: ${files.location}: expected token ids below vocab_size = ${vocabSize}, got ${id} for ${JSON.stringify(token)}`,
      hint: 'Put the tokenizer.json of this very model beside its weights.',
      data: { location: files.location, file: 'tokenizer.json', vocabSize, token, id },
    });
  }
  const special = await readSpecialTokenIds(files, vocabulary, addedTokens);
  const withSpecials = buildTokenizer(raw, files.location);
  // Text is data: a special token written in it is encoded as the characters it is made of, unless asked for.
  const withoutSpecials = buildTokenizer(
    { ...raw, added_tokens: addedTokens.filter((token) => !token.special) },
    files.location,
  );
  return {
    vocabSize,
    beginOfSequenceId: special.beginOfSequenceId,
    endOfSequenceIds: special.endOfSequenceIds,
    encode(text, { recogniseSpecialTokens = false } = {}) {
      if (text === '') return [];
      return (recogniseSpecialTokens ? withSpecials : withoutSpecials).encode(text, { add_special_tokens: false }).ids;
    },
    decode: (ids, { skipSpecialTokens = false } = {}) =>
      ids.length === 0
        ? ''
        : withSpecials.decode([...ids], {
            skip_special_tokens: skipSpecialTokens,
            clean_up_tokenization_spaces: false,
          }),
  };
}

function buildTokenizer(tokenizerFile: object, location: string): HuggingFaceTokenizer {
  try {
    return new HuggingFaceTokenizer(tokenizerFile, {});
  } catch (cause) {
    throw new KvlrError('file-malformed', {
      message: `loadTokenizer: tokenizer.json (${location}): expected a tokenizer definition, got ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: 'Download tokenizer.json again.',
      data: { location, file: 'tokenizer.json' },
      cause,
    });
  }
}
