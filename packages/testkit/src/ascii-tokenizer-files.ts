/**
 * The tokenizer files of a Hugging Face checkpoint, by name, for printable ASCII: <s>, </s>, one token for each of '!' to
 * '~' and for the space, and one merge, 'th': 98 tokens. <s> is put before every text.
 */
export function asciiTokenizerFiles(): Record<string, string> {
  const letters = Array.from({ length: 94 }, (_, offset) => String.fromCharCode(33 + offset));
  const tokens = ['<s>', '</s>', ...letters, 'Ġ', 'th'];
  const tokenizer = {
    version: '1.0',
    added_tokens: ['<s>', '</s>'].map((content, id) => ({ id, content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: ['t h'] },
  };
  return {
    'tokenizer.json': JSON.stringify(tokenizer),
    'tokenizer_config.json': JSON.stringify({ bos_token: '<s>', eos_token: '</s>', add_bos_token: true }),
  };
}
