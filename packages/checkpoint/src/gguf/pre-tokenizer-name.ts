import { KvlrError } from '@kvlr/core';

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
    message: `preTokenizerName: tokenizer.json (${location}): expected byte-level BPE as in GPT-2, Llama 3 or Qwen2, got ${modelType} with ${JSON.stringify(preTokenizer)?.slice(0, 120)}`,
    hint: "Convert the written checkpoint with llama.cpp's own convert_hf_to_gguf.py.",
    data: { location, file: 'tokenizer.json', modelType },
  });
}
