import { KvlrError } from '@kvlr/core';
import { readChatTemplates } from '../chat-templates.ts';
import type { CheckpointFiles } from '../files/files.ts';
import {
  parseTokenizerFile,
  readSpecialTokenIds,
  readTokenizerJson,
  requireIdsBelow,
  type SpecialTokenIds,
  type TokenizerFile,
} from '../tokenizer.ts';
import type { GgufValue } from './format.ts';
import { ruleOfTokenizer } from './pre-tokenizers.ts';
import { scoresFromMerges, spaceSign, tokenTypes } from './sentencepiece.ts';

type Metadata = Map<string, GgufValue>;

/**
 * Metadata of a tokenizer, from tokenizer.json and the files beside it: byte-level BPE (tokenizer.ggml.model gpt2) or
 * SentencePiece's BPE with bytes for what is no token (llama); special tokens, what is put before a text, chat templates. The
 * model may have more embeddings than tokens; the rest are written as unused.
 * Throws 'unsupported-feature' for other kinds of tokenizer, since llama.cpp would give other token ids without a word, and
 * 'tokenizer-mismatch' for tokens that the model has no embedding for.
 */
export async function ggufTokenizerMetadata(files: CheckpointFiles, vocabSize: number): Promise<Metadata> {
  const raw = await readTokenizerJson(files);
  const tokenizer = parseTokenizerFile(raw, files.location);
  requireIdsBelow(vocabSize, tokenizer, files.location);
  const special = await readSpecialTokenIds(files, raw);
  const table = tokenTable(tokenizer, vocabSize, special);
  const model = readModel(raw, files.location);
  const ofModel = isSentencePiece(raw, model)
    ? sentencePieceMetadata(raw, model, tokenizer, table)
    : byteLevelMetadata(raw, model, files.location);
  return new Map([
    ...ofModel,
    ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: table.tokens }],
    ['tokenizer.ggml.token_type', { type: 'array', of: 'int32', value: table.types }],
    ...specialMetadata(special, table, files.location),
    ...(await templateMetadata(files)),
  ]);
}

interface TokenTable {
  tokens: string[];
  types: number[];
}

function tokenTable(
  { vocabulary, addedTokens }: TokenizerFile,
  vocabSize: number,
  special: SpecialTokenIds,
): TokenTable {
  const tokens = Array.from({ length: vocabSize }, (_, id) => `[PAD${id}]`);
  const types: number[] = Array.from({ length: vocabSize }, () => tokenTypes.unused);
  for (const [token, id] of vocabulary) {
    tokens[id] = token;
    types[id] = /^<0x[0-9A-F]{2}>$/.test(token) ? tokenTypes.byte : tokenTypes.normal;
  }
  for (const { id, content, special: isSpecial } of addedTokens) {
    tokens[id] = content;
    types[id] = isSpecial ? tokenTypes.control : tokenTypes.userDefined;
  }
  if (special.unknownId !== undefined && tokens[special.unknownId] === '<unk>') {
    types[special.unknownId] = tokenTypes.unknown;
  }
  return { tokens, types };
}

interface RawModel {
  type?: string;
  byte_fallback?: boolean;
  ignore_merges?: boolean;
  merges: [left: string, right: string][];
}

/** Merges stand in the file as 'a b' or as ['a', 'b']. */
function readModel(raw: Record<string, unknown>, location: string): RawModel {
  const { merges, ...model } = raw.model as Record<string, unknown>;
  const pairs = Array.isArray(merges)
    ? merges.map((merge) => (typeof merge === 'string' ? merge.split(' ') : merge))
    : [];
  const isPair = (pair: unknown): pair is [string, string] =>
    Array.isArray(pair) && pair.length === 2 && pair.every((part) => typeof part === 'string');
  if (model.type !== 'BPE') return { ...model, merges: [] };
  if (Array.isArray(merges) && pairs.every(isPair)) return { ...model, merges: pairs };
  throw new KvlrError('file-malformed', {
    where: { file: 'tokenizer.json', argument: 'model.merges' },
    message: `expected a list of pairs (in ${location}), got ${JSON.stringify(merges)?.slice(0, 80)}`,
    hint: 'Download tokenizer.json again.',
    data: { location, file: 'tokenizer.json', field: 'model.merges' },
  });
}

function byteLevelMetadata(raw: Record<string, unknown>, model: RawModel, location: string): Metadata {
  const rule = ruleOfTokenizer(raw.pre_tokenizer, model.ignore_merges === true);
  const normalizer = raw.normalizer as { type?: string; normalizers?: unknown[] } | null | undefined;
  const normalises = normalizer && normalizer.type !== 'NFC' && normalizer.normalizers?.length !== 0;
  const mixes = rule?.digitsApart && model.merges.some((pair) => mixesDigits(pair.join('')));
  if (model.type !== 'BPE' || rule === undefined || normalises || mixes) throw unknownTokenizer(raw, model, location);
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: rule.names[0]! }],
    ['tokenizer.ggml.merges', { type: 'array', of: 'string', value: model.merges.map((pair) => pair.join(' ')) }],
  ]);
}

/** Whether some of the characters count as numbers, and some do not. */
function mixesDigits(token: string): boolean {
  return /\p{N}/u.test(token) && /\P{N}/u.test(token);
}

interface RawStep {
  type?: string;
  prepend?: string;
  content?: string;
  replacement?: string;
  prepend_scheme?: string;
  add_prefix_space?: boolean;
  split?: boolean;
  behavior?: string;
  pattern?: { String?: string };
  normalizers?: RawStep[];
  pretokenizers?: RawStep[];
}

const stepsOf = (step: RawStep | null | undefined): RawStep[] =>
  step ? (step.type === 'Sequence' ? (step.normalizers ?? step.pretokenizers ?? []) : [step]) : [];

const isReplacement = ({ type, pattern, content }: RawStep) =>
  type === 'Replace' && pattern?.String === ' ' && content === spaceSign;
const isPrefix = ({ type, prepend }: RawStep) => type === 'Prepend' && prepend === spaceSign;
const isMetaspace = ({ type, replacement, split }: RawStep) =>
  type === 'Metaspace' && replacement === spaceSign && split === false;
/** Gemma's: there are no spaces left to split at. */
const isIdle = ({ type, pattern, behavior }: RawStep) =>
  type === 'Split' && pattern?.String === ' ' && behavior === 'MergedWithPrevious';

/** Whether spaces become signs and nothing else is done to a text before BPE with bytes merges it as a whole. */
function isSentencePiece(raw: Record<string, unknown>, { type, byte_fallback: bytes }: RawModel): boolean {
  const before = stepsOf(raw.normalizer as RawStep | null);
  const pre = stepsOf(raw.pre_tokenizer as RawStep | null);
  return (
    type === 'BPE' &&
    bytes === true &&
    before.every((step) => isReplacement(step) || isPrefix(step)) &&
    pre.every((step) => isMetaspace(step) || isIdle(step)) &&
    (before.some(isReplacement) || pre.some(isMetaspace))
  );
}

function sentencePieceMetadata(
  raw: Record<string, unknown>,
  { merges }: RawModel,
  { vocabulary }: TokenizerFile,
  { tokens, types }: TokenTable,
): Metadata {
  const isNormal = (token: string) => types[vocabulary.get(token)!] === tokenTypes.normal;
  const scores = scoresFromMerges(vocabulary, merges, isNormal);
  const steps = [...stepsOf(raw.normalizer as RawStep | null), ...stepsOf(raw.pre_tokenizer as RawStep | null)];
  const addsSpace = steps.some((step) => {
    const scheme = step.prepend_scheme ?? (step.add_prefix_space === false ? 'never' : 'always');
    return isPrefix(step) || (isMetaspace(step) && scheme !== 'never');
  });
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.pre', { type: 'string', value: 'default' }],
    ['tokenizer.ggml.scores', { type: 'array', of: 'float32', value: tokens.map((token) => scores.get(token) ?? 0) }],
    ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: addsSpace }],
  ]);
}

const turnEnd = /^(<\|eot_id\|>|<\|im_end\|>|<\|end\|>|<end_of_turn>|<\|end_of_turn\|>)$/;

function specialMetadata(special: SpecialTokenIds, { tokens }: TokenTable, location: string): Metadata {
  const { beginOfSequenceId, endOfSequenceIds, prefixIds, suffixIds } = special;
  const begin = prefixIds[0] ?? beginOfSequenceId;
  const [end, ...otherEnds] = endOfSequenceIds;
  if (prefixIds.length > 1 || suffixIds.length > 1 || (suffixIds.length === 1 && suffixIds[0] !== end)) {
    throw new KvlrError('unsupported-feature', {
      message: `expected at most one token before and the end of sequence behind a text, got ${[...prefixIds, ...suffixIds]}`,
      hint: 'llama.cpp cannot be told this.',
      where: { file: 'tokenizer.json', argument: 'post_processor' },
      data: { location, prefixIds, suffixIds },
    });
  }
  const endOfTurn = otherEnds.find((id) => turnEnd.test(tokens[id] ?? '')) ?? otherEnds[0];
  const ids: Record<string, number | undefined> = {
    bos: begin,
    eos: end,
    eot: endOfTurn,
    eom: otherEnds.find((id) => tokens[id] === '<|eom_id|>'),
    unknown: special.unknownId,
    padding: special.paddingId,
  };
  const metadata: Metadata = new Map();
  for (const [role, id] of Object.entries(ids)) {
    if (id !== undefined) metadata.set(`tokenizer.ggml.${role}_token_id`, { type: 'uint32', value: id });
  }
  metadata.set('tokenizer.ggml.add_bos_token', { type: 'bool', value: prefixIds.length > 0 });
  metadata.set('tokenizer.ggml.add_eos_token', { type: 'bool', value: suffixIds.length > 0 });
  return metadata;
}

async function templateMetadata(files: CheckpointFiles): Promise<Metadata> {
  const templates = await readChatTemplates(files);
  const metadata: Metadata = new Map();
  const others = [...templates.keys()].filter((name) => name !== 'default');
  if (others.length > 0) metadata.set('tokenizer.chat_templates', { type: 'array', of: 'string', value: others });
  for (const [name, value] of templates) {
    const key = name === 'default' ? 'tokenizer.chat_template' : `tokenizer.chat_template.${name}`;
    metadata.set(key, { type: 'string', value });
  }
  return metadata;
}

function unknownTokenizer(raw: Record<string, unknown>, { type }: RawModel, location: string): KvlrError {
  const kinds =
    'byte-level BPE that splits as GPT-2, Llama 3, Qwen2, SmolLM and their like do, or BPE of SentencePiece';
  return new KvlrError('unsupported-feature', {
    where: { file: 'tokenizer.json' },
    message: `expected ${kinds}, got ${type} with ${JSON.stringify(raw.pre_tokenizer)?.slice(0, 120)}`,
    hint: "Convert the written checkpoint with llama.cpp's own convert_hf_to_gguf.py.",
    data: { location, file: 'tokenizer.json', modelType: type },
  });
}
