import { KvlrError } from '@kvlr/core';
import { type CheckpointFiles, readJsonObject } from '../files/files.ts';
import { parseTokenizerFile, readSpecialTokenIds } from '../tokenizer.ts';
import type { GgufValue } from './format.ts';

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
    where: { file: 'tokenizer.json', argument: 'model.merges' },
    message: `expected a list of pairs (in ${location}), got ${JSON.stringify(merges)?.slice(0, 80)}`,
    hint: 'Download tokenizer.json again.',
    data: { location, file: 'tokenizer.json', field: 'model.merges' },
  });
}

/** How a tokenizer.json says that words are split before merging, by llama.cpp's name for that rule. */
const splitPatterns: Record<string, string> = {
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+":
    'llama-bpe',
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+":
    'qwen2',
};

interface PreTokenizer {
  type?: string;
  use_regex?: boolean;
  add_prefix_space?: boolean;
  pattern?: { Regex?: string };
  pretokenizers?: PreTokenizer[];
}

/**
 * llama.cpp's name of a byte-level BPE tokenizer's splitting rule: 'gpt-2', 'llama-bpe' (Llama 3) or 'qwen2'.
 * Throws 'unsupported-feature' for any other, since llama.cpp would then give other token ids without a word.
 */
export function preTokenizerName(tokenizerFile: Record<string, unknown>, location: string): string {
  const modelType = (tokenizerFile.model as { type?: string; byte_fallback?: boolean }).type;
  const preTokenizer = tokenizerFile.pre_tokenizer as PreTokenizer | null;
  const [first, second] = preTokenizer?.type === 'Sequence' ? (preTokenizer.pretokenizers ?? []) : [preTokenizer];
  const byteLevel = second ?? first;
  if (modelType === 'BPE' && byteLevel?.type === 'ByteLevel' && byteLevel.add_prefix_space !== true) {
    const pattern = first?.type === 'Split' ? splitPatterns[first.pattern?.Regex ?? ''] : undefined;
    if (pattern !== undefined && byteLevel.use_regex === false) return pattern;
    if (byteLevel === first && byteLevel.use_regex !== false) return 'gpt-2';
  }
  throw new KvlrError('unsupported-feature', {
    where: { file: 'tokenizer.json' },
    message: `expected byte-level BPE as in GPT-2, Llama 3 or Qwen2, got ${modelType} with ${JSON.stringify(preTokenizer)?.slice(0, 120)}`,
    hint: "Convert the written checkpoint with llama.cpp's own convert_hf_to_gguf.py.",
    data: { location, file: 'tokenizer.json', modelType },
  });
}
