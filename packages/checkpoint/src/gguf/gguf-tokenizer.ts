import { KvlrError } from '@kvlr/core';
import type { CheckpointFiles } from '../files/checkpoint-files.ts';
import { readJsonObject } from '../files/read-json-object.ts';
import { readSpecialTokenIds } from '../tokenizer/special-token-ids.ts';
import { parseTokenizerFile } from '../tokenizer/tokenizer-file.ts';
import type { GgufValue } from './gguf-format.ts';
import { preTokenizerName } from './pre-tokenizer-name.ts';

/** Kinds of token in tokenizer.ggml.token_type. */
const tokenTypes = { normal: 1, control: 3, userDefined: 4, unused: 5 } as const;

/**
 * Metadata of a byte-level BPE tokenizer, from tokenizer.json. The model may have more embeddings than tokens; the rest
 * are written as unused. Throws 'unsupported-feature' for other kinds of tokenizer.
 */
export async function ggufTokenizerMetadata(
  files: CheckpointFiles,
  vocabSize: number,
): Promise<Map<string, GgufValue>> {
  const raw = await readJsonObject(files, 'tokenizer.json');
  const { vocabulary, addedTokens } = parseTokenizerFile(raw, files.location);
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types: number[] = Array.from({ length: vocabSize }, () => tokenTypes.unused);
  for (const [token, id] of vocabulary) {
    tokens[id] = token;
    types[id] = tokenTypes.normal;
  }
  for (const { id, content, special } of addedTokens) {
    tokens[id] = content;
    types[id] = special ? tokenTypes.control : tokenTypes.userDefined;
  }
  const special = await readSpecialTokenIds(files, vocabulary, addedTokens);
  const metadata = new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: preTokenizerName(raw, files.location) }],
    ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'array', of: 'int32', value: types }],
    ['tokenizer.ggml.merges', { type: 'array', of: 'string', value: readMerges(raw, files.location) }],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: special.addBeginOfSequence }],
    ['tokenizer.ggml.add_eos_token', { type: 'bool', value: false }],
  ]);
  const [endOfSequenceId] = special.endOfSequenceIds;
  if (special.beginOfSequenceId !== undefined) {
    metadata.set('tokenizer.ggml.bos_token_id', { type: 'uint32', value: special.beginOfSequenceId });
  }
  if (endOfSequenceId !== undefined)
    metadata.set('tokenizer.ggml.eos_token_id', { type: 'uint32', value: endOfSequenceId });
  return metadata;
}

/** Merges stand in the file as 'a b' or as ['a', 'b']. */
function readMerges(raw: Record<string, unknown>, location: string): string[] {
  const merges = (raw.model as { merges?: unknown }).merges;
  const texts = Array.isArray(merges)
    ? merges.map((merge) => (Array.isArray(merge) ? merge.join(' ') : merge))
    : [merges];
  if (texts.every((text) => typeof text === 'string')) return texts;
  throw new KvlrError('file-malformed', {
    message: `ggufTokenizerMetadata: tokenizer.json (${location}): expected model.merges to be a list of pairs, got ${JSON.stringify(merges)?.slice(0, 80)}`,
    hint: 'Download tokenizer.json again.',
    data: { location, file: 'tokenizer.json', field: 'model.merges' },
  });
}
