import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { KvlrError, type Tokenizer } from '@kvlr/core';
import { type CheckpointFiles, readJsonObject } from './files/files.ts';
import { timeBudget, withinTime } from './files/time-budget.ts';

/**
 * The tokenizer of a checkpoint, from tokenizer.json. `vocabSize` is the model's: an id beyond it means that tokenizer
 * and model do not belong together. Throws 'file-missing', 'file-malformed', 'tokenizer-mismatch'.
 */
export async function loadTokenizer(files: CheckpointFiles, vocabSize: number): Promise<Tokenizer> {
  const raw = await readTokenizerJson(files);
  const { vocabulary, addedTokens } = parseTokenizerFile(raw, files.location);
  requireIdsBelow(vocabSize, { vocabulary, addedTokens }, files.location);
  const special = await readSpecialTokenIds(files, raw);
  const foreign = special.prefixIds.find((id) => !isId(id) || id >= vocabSize);
  if (foreign !== undefined) {
    throw new KvlrError('tokenizer-mismatch', {
      message: `expected token ids below vocab_size = ${vocabSize}, got ${foreign} before every text (in ${files.location})`,
      where: { file: 'tokenizer.json', argument: 'post_processor' },
      hint: 'Put the tokenizer.json of this very model beside its weights.',
      data: { location: files.location, file: 'tokenizer.json', vocabSize, id: foreign },
    });
  }
  const withSpecials = buildTokenizer(raw, files.location);
  // Some parts are looked at only when they work: a wrong one shows here, not in the middle of an answer.
  for (const [token, id] of [...vocabulary].slice(0, 1)) {
    run(files.location, token.length, () => withSpecials.encode(token, { add_special_tokens: false }));
    run(files.location, 1, () => withSpecials.decode([id]));
  }
  // Text is data: a special token written in it is encoded as the characters it is made of, unless asked for.
  const withoutSpecials = buildTokenizer(
    { ...raw, added_tokens: addedTokens.filter((token) => !token.special) },
    files.location,
  );
  return {
    vocabSize,
    prefixIds: special.prefixIds,
    endOfSequenceIds: special.endOfSequenceIds,
    encode(text, { recogniseSpecialTokens = false } = {}) {
      if (text === '') return [];
      if (typeof text !== 'string') throw wrongArgument('text', 'a text', text);
      const tokenizer = recogniseSpecialTokens ? withSpecials : withoutSpecials;
      const { ids } = run(files.location, text.length, () => tokenizer.encode(text, { add_special_tokens: false }));
      // A vocabulary without a token for what it does not know gives no id at all.
      const foreign = ids.findIndex((id) => !isId(id) || id >= vocabSize);
      if (foreign === -1) return ids;
      throw new KvlrError('tokenizer-mismatch', {
        message: `expected token ids below vocab_size = ${vocabSize} for every character, got ${ids[foreign]} (in ${files.location})`,
        where: { file: 'tokenizer.json' },
        hint: 'Put the tokenizer.json of this very model beside its weights: this one has no token for a part of the text.',
        data: { location: files.location, file: 'tokenizer.json', vocabSize, id: ids[foreign] },
      });
    },
    decode(ids, { skipSpecialTokens = false } = {}) {
      const list = [...checkIds(ids, vocabSize)];
      if (list.length === 0) return '';
      const settings = { skip_special_tokens: skipSpecialTokens, clean_up_tokenization_spaces: false };
      return run(files.location, list.length, () => withSpecials.decode(list, settings));
    },
  };
}

/** Throws 'tokenizer-mismatch' for a token that the model has no row for. */
export function requireIdsBelow(vocabSize: number, { vocabulary, addedTokens }: TokenizerFile, location: string): void {
  for (const [token, id] of [...vocabulary, ...addedTokens.map(({ content, id }) => [content, id] as const)]) {
    if (id < vocabSize) continue;
    throw new KvlrError('tokenizer-mismatch', {
      message: `expected token ids below vocab_size = ${vocabSize}, got ${id} for ${JSON.stringify(token)} (in ${location})`,
      where: { file: 'tokenizer.json' },
      hint: 'Put the tokenizer.json of this very model beside its weights.',
      data: { location, file: 'tokenizer.json', vocabSize, token, id },
    });
  }
}

function checkIds(ids: Iterable<number>, vocabSize: number): Iterable<number> {
  if (typeof ids !== 'object' || ids === null || !(Symbol.iterator in ids)) {
    throw wrongArgument('ids', 'a list of token ids', ids);
  }
  for (const id of ids) {
    if (!isId(id) || id >= vocabSize) throw wrongArgument('ids', `token ids from 0 to ${vocabSize - 1}`, id);
  }
  return ids;
}

function wrongArgument(argument: string, expected: string, received: unknown): KvlrError {
  const shown = typeof received === 'object' && received !== null ? 'an object' : String(received);
  return new KvlrError('invalid-argument', { message: `expected ${expected}, got ${shown}`, where: { argument } });
}

function buildTokenizer(tokenizerFile: object, location: string): HuggingFaceTokenizer {
  const { vocab } = (tokenizerFile as { model: { vocab: object } }).model;
  // Each token of a vocabulary counts like a character of text.
  return run(location, Object.keys(vocab).length, () => new HuggingFaceTokenizer(tokenizerFile, {}));
}

/** Does what a tokenizer.json says, in bounded time. Throws 'file-malformed'. */
function run<Value>(location: string, characters: number, work: () => Value): Value {
  try {
    return withinTime(timeBudget(characters), { file: 'tokenizer.json' }, work);
  } catch (cause) {
    if (KvlrError.isInstance(cause)) throw cause;
    throw new KvlrError('file-malformed', {
      where: { file: 'tokenizer.json' },
      message: `expected a tokenizer definition (in ${location}), got ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: 'Download tokenizer.json again.',
      data: { location, file: 'tokenizer.json' },
      cause,
    });
  }
}

/** Files of tokenizers that tokenizer.json is made from: SentencePiece's, byte-level BPE's, tiktoken's. */
const olderTokenizers = /^(tokenizer|spiece)\.model$|^vocab\.(json|txt)$|^merges\.txt$|\.tiktoken$/;

/** tokenizer.json as it stands. Throws 'file-missing', with a hint how to make it from an older form that lies in its place. */
export async function readTokenizerJson(files: CheckpointFiles): Promise<Record<string, unknown>> {
  const present = await files.list();
  const older = present.filter((name) => olderTokenizers.test(name));
  if (present.includes('tokenizer.json') || older.length === 0) return readJsonObject(files, 'tokenizer.json');
  throw new KvlrError('file-missing', {
    message: `expected this file in ${files.location}, found ${older.length === 1 ? `${older[0]} alone` : older.join(' and ')}`,
    hint: `Make it with transformers (and sentencepiece, for tokenizer.model): python -c "from transformers import AutoTokenizer as T; T.from_pretrained('DIR').save_pretrained('DIR')", DIR being the checkpoint.`,
    where: { file: 'tokenizer.json' },
    data: { location: files.location, file: 'tokenizer.json' },
  });
}

export interface SpecialTokenIds {
  /** The token that the files name as begin of sequence, whether or not it is put before a text. */
  beginOfSequenceId: number | undefined;
  /** The tokenizer's own end of sequence first, then others that stop generation. */
  endOfSequenceIds: number[];
  /** What is put before every text, and behind it. */
  prefixIds: number[];
  suffixIds: number[];
  unknownId: number | undefined;
  paddingId: number | undefined;
}

/**
 * Which tokens begin and end a text: the tokens named in tokenizer_config.json, then the ids in generation_config.json and
 * config.json, which may name several that end generation. Put before a text is what the post-processor of tokenizer.json puts
 * there; where that has no say, the begin-of-sequence token if tokenizer_config.json says add_bos_token; else nothing, whatever
 * ids there are.
 */
export async function readSpecialTokenIds(
  files: CheckpointFiles,
  tokenizerJson: Record<string, unknown>,
): Promise<SpecialTokenIds> {
  const { vocabulary, addedTokens } = parseTokenizerFile(tokenizerJson, files.location);
  const present = await files.list();
  const readIfPresent = async (name: string): Promise<Record<string, unknown>> =>
    present.includes(name) ? readJsonObject(files, name) : {};
  const tokenizerConfig = {
    ...(await readIfPresent('special_tokens_map.json')),
    ...(await readIfPresent('tokenizer_config.json')),
  };
  const generationConfig = await readIfPresent('generation_config.json');
  const config = await readIfPresent('config.json');

  const added = new Map(addedTokens.map(({ content, id }) => [content, id]));
  const idOfToken = (token: unknown): number | undefined => {
    const content = typeof token === 'string' ? token : (token as { content?: string } | null | undefined)?.content;
    return content === undefined ? undefined : (added.get(content) ?? vocabulary.get(content));
  };
  const ids = (value: unknown): number[] =>
    (Array.isArray(value) ? value : [value]).filter((id): id is number => Number.isSafeInteger(id));
  const idOf = (name: string) =>
    idOfToken(tokenizerConfig[`${name}_token`]) ??
    ids(generationConfig[`${name}_token_id`])[0] ??
    ids(config[`${name}_token_id`])[0];

  const beginOfSequenceId = idOf('bos');
  const endOfSequenceIds = [
    idOfToken(tokenizerConfig.eos_token),
    ...ids(generationConfig.eos_token_id),
    ...ids(config.eos_token_id),
  ].filter((id) => id !== undefined);
  const around = idsOfPostProcessor(tokenizerJson.post_processor, files.location);
  const flagged = (flag: string, id: number | undefined) =>
    tokenizerConfig[flag] === true && id !== undefined ? [id] : [];
  return {
    beginOfSequenceId,
    endOfSequenceIds: [...new Set(endOfSequenceIds)],
    prefixIds: around?.prefixIds ?? flagged('add_bos_token', beginOfSequenceId),
    suffixIds: around?.suffixIds ?? flagged('add_eos_token', endOfSequenceIds[0]),
    unknownId: idOf('unk') ?? idOfToken((tokenizerJson.model as { unk_token?: unknown }).unk_token),
    paddingId: idOf('pad'),
  };
}

interface PostProcessor {
  type?: string;
  processors?: unknown[];
  single?: { SpecialToken?: { id?: string }; Sequence?: object }[];
  special_tokens?: Record<string, { ids?: number[] } | undefined>;
  cls?: [string, number];
  sep?: [string, number];
}

/** What a post-processor puts around one text; undefined for one that has no say in it. Throws 'file-malformed'. */
function idsOfPostProcessor(
  value: unknown,
  location: string,
): Pick<SpecialTokenIds, 'prefixIds' | 'suffixIds'> | undefined {
  const { type, processors = [], single, special_tokens: special = {}, cls, sep } = Object(value) as PostProcessor;
  if (type === 'Sequence') {
    const found = processors.map((processor) => idsOfPostProcessor(processor, location));
    return found.find((around) => around !== undefined);
  }
  const isPair = (token: unknown): token is [string, number] => Array.isArray(token) && Number.isSafeInteger(token[1]);
  if (isPair(cls) && isPair(sep)) return { prefixIds: [cls[1]], suffixIds: [sep[1]] };
  if (type !== 'TemplateProcessing') return undefined;
  const pieces = Array.isArray(single) ? single.map((piece) => special[piece?.SpecialToken?.id ?? '']?.ids ?? []) : [];
  const place = Array.isArray(single) ? single.findIndex((piece) => piece?.Sequence !== undefined) : -1;
  if (place === -1) throw malformed('post_processor.single', single, location);
  return { prefixIds: pieces.slice(0, place).flat(), suffixIds: pieces.slice(place + 1).flat() };
}

interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

/** The parts of a tokenizer.json that kvlr looks at itself. */
export interface TokenizerFile {
  vocabulary: Map<string, number>;
  /** As they stand in the file, with all their fields. */
  addedTokens: (AddedToken & Record<string, unknown>)[];
}

/** Checks vocabulary and added tokens of a tokenizer.json. Throws 'file-malformed'. */
export function parseTokenizerFile(raw: Record<string, unknown>, location: string): TokenizerFile {
  const vocabulary = (raw.model as { vocab?: unknown } | undefined)?.vocab;
  const addedTokens = raw.added_tokens ?? [];
  return { vocabulary: parseVocabulary(vocabulary, location), addedTokens: parseAddedTokens(addedTokens, location) };
}

/** BPE and WordPiece map tokens to ids; Unigram lists [token, score] pairs in order of id. */
function parseVocabulary(vocabulary: unknown, location: string): Map<string, number> {
  if (typeof vocabulary !== 'object' || vocabulary === null) throw malformed('model.vocab', vocabulary, location);
  const entries: [unknown, unknown][] = Array.isArray(vocabulary)
    ? vocabulary.map((pair: unknown, id) => [Array.isArray(pair) ? pair[0] : undefined, id])
    : Object.entries(vocabulary);
  for (const [token, id] of entries) {
    if (typeof token !== 'string' || !isId(id)) throw malformed('model.vocab', [token, id], location);
  }
  return new Map(entries as [string, number][]);
}

function parseAddedTokens(addedTokens: unknown, location: string): (AddedToken & Record<string, unknown>)[] {
  if (!Array.isArray(addedTokens)) throw malformed('added_tokens', addedTokens, location);
  for (const token of addedTokens) {
    if (typeof token?.content !== 'string' || !isId(token.id)) throw malformed('added_tokens', token, location);
  }
  return addedTokens;
}

function isId(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function malformed(field: string, received: unknown, location: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected tokens and ids (in ${location}), got ${JSON.stringify(received)?.slice(0, 80)}`,
    where: { file: 'tokenizer.json', argument: field },
    hint: 'Download tokenizer.json again.',
    data: { location, file: 'tokenizer.json', field },
  });
}
