import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';
import { KvlrError, type Tokenizer } from '@kvlr/core';
import { type CheckpointFiles, readJsonObject } from './files/files.ts';

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
      message: `expected token ids below vocab_size = ${vocabSize}, got ${id} for ${JSON.stringify(token)} (in ${files.location})`,
      where: { file: 'tokenizer.json' },
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
      where: { file: 'tokenizer.json' },
      message: `expected a tokenizer definition (in ${location}), got ${cause instanceof Error ? cause.message : String(cause)}`,
      hint: 'Download tokenizer.json again.',
      data: { location, file: 'tokenizer.json' },
      cause,
    });
  }
}

export interface SpecialTokenIds {
  beginOfSequenceId: number | undefined;
  /** The tokenizer's own end of sequence first, then others that stop generation. */
  endOfSequenceIds: number[];
  /** Whether the model expects the begin-of-sequence token before a text. */
  addBeginOfSequence: boolean;
}

/**
 * Which tokens begin and end a text: the tokens named in tokenizer_config.json, then the ids in generation_config.json
 * and config.json, which may name several that end generation.
 */
export async function readSpecialTokenIds(
  files: CheckpointFiles,
  vocabulary: ReadonlyMap<string, number>,
  addedTokens: readonly AddedToken[],
): Promise<SpecialTokenIds> {
  const present = await files.list();
  const readIfPresent = async (name: string): Promise<Record<string, unknown>> =>
    present.includes(name) ? readJsonObject(files, name) : {};
  const tokenizerConfig = await readIfPresent('tokenizer_config.json');
  const generationConfig = await readIfPresent('generation_config.json');
  const config = await readIfPresent('config.json');

  const added = new Map(addedTokens.map(({ content, id }) => [content, id]));
  const idOfToken = (token: unknown): number | undefined => {
    const content = typeof token === 'string' ? token : (token as { content?: string } | null | undefined)?.content;
    return content === undefined ? undefined : (added.get(content) ?? vocabulary.get(content));
  };
  const ids = (value: unknown): number[] =>
    (Array.isArray(value) ? value : [value]).filter((id): id is number => Number.isSafeInteger(id));

  const beginOfSequenceId =
    idOfToken(tokenizerConfig.bos_token) ?? ids(generationConfig.bos_token_id)[0] ?? ids(config.bos_token_id)[0];
  const endOfSequenceIds = [
    idOfToken(tokenizerConfig.eos_token),
    ...ids(generationConfig.eos_token_id),
    ...ids(config.eos_token_id),
  ].filter((id) => id !== undefined);
  return {
    beginOfSequenceId,
    endOfSequenceIds: [...new Set(endOfSequenceIds)],
    addBeginOfSequence: beginOfSequenceId !== undefined && tokenizerConfig.add_bos_token !== false,
  };
}

export interface AddedToken {
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
