import { KvlrError } from '@kvlr/core';

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
    message: `parseTokenizerFile: tokenizer.json (${location}): expected ${field} to hold tokens and ids, got ${JSON.stringify(received)?.slice(0, 80)}`,
    hint: 'Download tokenizer.json again.',
    data: { location, file: 'tokenizer.json', field },
  });
}
