import { KvlrError } from '@kvlr/core';
import type { GgufMetadata } from './header.ts';
import { ruleOfName } from './pre-tokenizers.ts';
import { mergesFromScores, spaceSign, tokenTypes } from './sentencepiece.ts';

/** Token ids of a GGUF file, under the names that config.json and generation_config.json have for them. */
const idKeys = {
  bos_token_id: 'tokenizer.ggml.bos_token_id',
  eos_token_id: 'tokenizer.ggml.eos_token_id',
  pad_token_id: 'tokenizer.ggml.padding_token_id',
} as const;

/** Tokens that end a turn or a text whatever the metadata say: llama.cpp knows them by their texts, too. */
const endingTexts = new Set([
  ...['<|eot_id|>', '<|im_end|>', '<|end|>', '<end_of_turn>', '<|endoftext|>', '<|end_of_text|>', '<|eom_id|>'],
  ...['<EOT>', '_<EOT>', '[EOT]', '<|return|>', '<｜end▁of▁sentence｜>'],
]);

interface TokenTable {
  tokens: readonly string[];
  /** Kind of each token; see `tokenTypes`. */
  types: readonly number[];
}

/**
 * The tokenizer of a GGUF file as the files that a checkpoint in Hugging Face form has: tokenizer.json, tokenizer_config.json
 * with the chat template, generation_config.json. `contents` makes them when they are read.
 */
export function ggufTokenizerFiles(
  metadata: GgufMetadata,
  location: string,
): { tokenIds: Record<string, number>; contents: Record<string, () => string> } {
  const { tokens } = readTokens(metadata, location);
  const ids = Object.entries(idKeys).flatMap(([name, key]) => {
    const id = metadata.get(key);
    return typeof id === 'number' && id < tokens.length ? [[name, id] as const] : [];
  });
  const tokenIds: Record<string, number> = Object.fromEntries(ids);
  return {
    tokenIds,
    contents: {
      'tokenizer.json': () => JSON.stringify(tokenizerJson(metadata, location)),
      'tokenizer_config.json': () => json(tokenizerConfig(metadata, location)),
      'generation_config.json': () => json(generationConfig(metadata, location, tokenIds)),
    },
  };
}

function readTokens(metadata: GgufMetadata, location: string): TokenTable {
  const tokens = metadata.get('tokenizer.ggml.tokens') ?? [];
  const types = metadata.get('tokenizer.ggml.token_type') ?? [];
  const isTable = Array.isArray(tokens) && tokens.every((token) => typeof token === 'string') && Array.isArray(types);
  if (!isTable) throw malformed('tokenizer.ggml.tokens', 'a list of texts', location);
  return { tokens, types: tokens.map((_, id) => Number(types[id] ?? tokenTypes.normal)) };
}

function tokenizerJson(metadata: GgufMetadata, location: string): Record<string, unknown> {
  const { tokens, types } = readTokens(metadata, location);
  const kind = metadata.get('tokenizer.ggml.model');
  if (tokens.length === 0) throw malformed('tokenizer.ggml.tokens', 'a list of tokens', location);
  if (kind !== 'gpt2' && kind !== 'llama') {
    throw new KvlrError('unsupported-feature', {
      message: `expected gpt2 (byte-level BPE) or llama (SentencePiece BPE), got ${JSON.stringify(kind)}`,
      hint: 'Put the tokenizer.json of this model beside weights in Hugging Face form.',
      where: { file: location, argument: 'tokenizer.ggml.model' },
      data: { location, received: kind },
    });
  }
  const isPadding = (id: number) => types[id] === tokenTypes.unused && /^\[PAD\d+\]$/.test(tokens[id]!);
  // Of two tokens with one text the first is found, as in llama.cpp.
  const vocabulary = new Map<string, number>();
  for (const [id, token] of tokens.entries()) if (!isPadding(id) && !vocabulary.has(token)) vocabulary.set(token, id);
  const added = tokens.flatMap((content, id) => {
    const special = types[id] === tokenTypes.control || types[id] === tokenTypes.unknown;
    if (!special && types[id] !== tokenTypes.userDefined) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }];
  });
  const table = { tokens, types };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    ...(kind === 'gpt2'
      ? byteLevel(metadata, vocabulary, location)
      : sentencePiece(metadata, table, vocabulary, location)),
    post_processor: postProcessor(metadata, table),
  };
}

/** Byte-level BPE: model, normalizer, pre-tokenizer and decoder. */
function byteLevel(metadata: GgufMetadata, vocabulary: ReadonlyMap<string, number>, location: string) {
  const name = metadata.get('tokenizer.ggml.pre') ?? 'default';
  const rule = ruleOfName(String(name));
  if (rule === undefined) {
    throw new KvlrError('unsupported-feature', {
      message: `expected a known rule for splitting words, got ${JSON.stringify(name)}`,
      hint: 'Put the tokenizer.json of this model beside weights in Hugging Face form.',
      where: { file: location, argument: 'tokenizer.ggml.pre' },
      data: { location, received: name },
    });
  }
  const merges = metadata.get('tokenizer.ggml.merges');
  if (!Array.isArray(merges)) throw malformed('tokenizer.ggml.merges', 'a list of merges', location);
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true };
  const steps = rule.steps.map((step) => (step.type === 'ByteLevel' ? { ...bytes, ...step } : step));
  return {
    normalizer: rule.normalizer === undefined ? null : { type: rule.normalizer },
    pre_tokenizer: steps.length === 1 ? steps[0] : { type: 'Sequence', pretokenizers: steps },
    decoder: { ...bytes, use_regex: true },
    model: {
      ...{ type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      ...{ fuse_unk: false, byte_fallback: false, ignore_merges: rule.ignoreMerges ?? false },
      ...{ vocab: Object.fromEntries(vocabulary), merges },
    },
  };
}

/** SentencePiece's BPE, by scores, with bytes for what is no token. */
function sentencePiece(
  metadata: GgufMetadata,
  { tokens, types }: TokenTable,
  vocabulary: ReadonlyMap<string, number>,
  location: string,
) {
  const scores = metadata.get('tokenizer.ggml.scores');
  if (!Array.isArray(scores) || scores.length < tokens.length) {
    throw malformed('tokenizer.ggml.scores', 'a score for each token', location);
  }
  const normal = [...vocabulary].filter(([, id]) => types[id] === tokenTypes.normal || types[id] === tokenTypes.unused);
  const addsSpace = metadata.get('tokenizer.ggml.add_space_prefix') !== false;
  const toSign = { type: 'Replace', pattern: { String: ' ' }, content: spaceSign };
  const fromSign = { type: 'Replace', pattern: { String: spaceSign }, content: ' ' };
  const whole = [fromSign, { type: 'ByteFallback' }, { type: 'Fuse' }];
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [...(addsSpace ? [{ type: 'Prepend', prepend: spaceSign }] : []), toSign],
    },
    pre_tokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [...whole, ...(addsSpace ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [])],
    },
    model: {
      ...{ type: 'BPE', dropout: null, continuing_subword_prefix: null, end_of_word_suffix: null },
      unk_token: tokens.find((_, id) => types[id] === tokenTypes.unknown) ?? null,
      ...{ fuse_unk: true, byte_fallback: types.includes(tokenTypes.byte) },
      vocab: Object.fromEntries(vocabulary),
      merges: mergesFromScores(new Map(normal), new Map(normal.map(([token, id]) => [token, Number(scores[id])]))),
    },
  };
}

/** Whether a token is put before and behind every text: what the file says, else what llama.cpp assumes for its kind. */
function additions(metadata: GgufMetadata): { bos: boolean; eos: boolean } {
  const rule = ruleOfName(String(metadata.get('tokenizer.ggml.pre')));
  const usual = metadata.get('tokenizer.ggml.model') === 'llama' || rule?.addsBeginOfSequence === true;
  const flag = (key: string) => metadata.get(`tokenizer.ggml.${key}`);
  return { bos: (flag('add_bos_token') ?? usual) === true, eos: flag('add_eos_token') === true };
}

function postProcessor(metadata: GgufMetadata, { tokens }: TokenTable): Record<string, unknown> | null {
  const { bos, eos } = additions(metadata);
  const [begin, end] = [idOf(metadata, 'bos', tokens), idOf(metadata, 'eos', tokens)];
  const before = bos && begin !== undefined ? [begin] : [];
  const behind = eos && end !== undefined ? [end] : [];
  if (before.length + behind.length === 0) return null;
  const special = (id: number, type: number) => ({ SpecialToken: { id: tokens[id], type_id: type } });
  const sequence = (name: string, type: number) => [
    ...before.map((id) => special(id, type)),
    { Sequence: { id: name, type_id: type } },
    ...behind.map((id) => special(id, type)),
  ];
  return {
    type: 'TemplateProcessing',
    single: sequence('A', 0),
    pair: [...sequence('A', 0), ...sequence('B', 1)],
    special_tokens: Object.fromEntries(
      [...before, ...behind].map((id) => [tokens[id], { id: tokens[id], ids: [id], tokens: [tokens[id]] }]),
    ),
  };
}

/** Id of a token with a role; SentencePiece's own ids where the file names none. */
function idOf(metadata: GgufMetadata, role: 'bos' | 'eos' | 'unknown' | 'padding', tokens: readonly string[]) {
  const id = metadata.get(`tokenizer.ggml.${role}_token_id`);
  const usual = { unknown: 0, bos: 1, eos: 2, padding: undefined };
  const found = id ?? (metadata.get('tokenizer.ggml.model') === 'llama' ? usual[role] : undefined);
  return typeof found === 'number' && found < tokens.length ? found : undefined;
}

function tokenizerConfig(metadata: GgufMetadata, location: string): Record<string, unknown> {
  const { tokens } = readTokens(metadata, location);
  const { bos, eos } = additions(metadata);
  const tokenOf = (role: Parameters<typeof idOf>[1]) => {
    const id = idOf(metadata, role, tokens);
    return id === undefined ? null : tokens[id];
  };
  const template = chatTemplates(metadata);
  return {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: tokenOf('bos'),
    eos_token: tokenOf('eos'),
    unk_token: tokenOf('unknown'),
    pad_token: tokenOf('padding'),
    add_bos_token: bos,
    add_eos_token: eos,
    clean_up_tokenization_spaces: false,
    ...(template !== undefined && { chat_template: template }),
  };
}

/** One template, or a list of named ones. */
function chatTemplates(metadata: GgufMetadata): string | { name: string; template: string }[] | undefined {
  const prefix = 'tokenizer.chat_template.';
  const usual = metadata.get('tokenizer.chat_template');
  const named = [...metadata].flatMap(([key, template]) =>
    key.startsWith(prefix) && typeof template === 'string' ? [{ name: key.slice(prefix.length), template }] : [],
  );
  if (typeof usual !== 'string') return named.length === 0 ? undefined : named;
  return named.length === 0 ? usual : [{ name: 'default', template: usual }, ...named];
}

/** The ids that end a text, the tokenizer's own first, and the others of its kind. */
function generationConfig(
  metadata: GgufMetadata,
  location: string,
  tokenIds: Readonly<Record<string, number>>,
): Record<string, unknown> {
  const { tokens, types } = readTokens(metadata, location);
  const named = ['eos', 'eot', 'eom'].map((role) => metadata.get(`tokenizer.ggml.${role}_token_id`));
  const byText = tokens.flatMap((token, id) =>
    types[id] === tokenTypes.control && endingTexts.has(token) ? [id] : [],
  );
  const ids = [...named, ...byText].filter((id) => typeof id === 'number' && id < tokens.length);
  const ending = [...new Set(ids)];
  return { ...tokenIds, ...(ending.length > 0 && { eos_token_id: ending.length === 1 ? ending[0] : ending }) };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function malformed(key: string, expected: string, location: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected ${expected}, found none`,
    hint: 'The file has no whole tokenizer: convert it anew.',
    where: { file: location, argument: key },
    data: { location, key },
  });
}
