import { KvlrError } from '@kvlr/core';

/** SentencePiece's sign for a space. */
export const spaceSign = '\u2581';

/** Kinds of token in tokenizer.ggml.token_type. */
export const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/**
 * The merges of a tokenizer.json that stand for the scores of SentencePiece's BPE, which joins the two neighbours whose joint
 * token has the highest score: every way to cut a token into two tokens, best scores first. As transformers makes them.
 */
export function mergesFromScores(
  vocabulary: ReadonlyMap<string, number>,
  scores: ReadonlyMap<string, number>,
): string[] {
  const merges: { left: string; right: string; score: number }[] = [];
  for (const [token, score] of scores) {
    for (const [left, right] of cutsOf(token)) {
      if (vocabulary.has(left) && vocabulary.has(right)) merges.push({ left, right, score });
    }
  }
  merges.sort((a, b) => b.score - a.score || b.left.length - a.left.length);
  return merges.map(({ left, right }) => `${left} ${right}`);
}

/**
 * The other way: a score for each token, so that joining by scores does what joining by merges does. Throws
 * 'unsupported-feature' where it would not: two tokens stand for a third that no merge makes of them.
 */
export function scoresFromMerges(
  vocabulary: ReadonlyMap<string, number>,
  merges: readonly (readonly [left: string, right: string])[],
  isNormal: (token: string) => boolean,
): Map<string, number> {
  const ranks = new Map<string, number>();
  const known = new Set<string>();
  for (const [rank, [left, right]] of merges.entries()) {
    known.add(`${left} ${right}`);
    if (!ranks.has(left + right)) ranks.set(left + right, rank);
  }
  // A text is joined from its characters, whether or not they are tokens.
  const canStand = (text: string) => (vocabulary.has(text) ? isNormal(text) : cutsOf(text).length === 0);
  const scores = new Map<string, number>();
  for (const [token, id] of vocabulary) {
    if (!isNormal(token)) continue;
    for (const [left, right] of cutsOf(token)) {
      if (!known.has(`${left} ${right}`) && canStand(left) && canStand(right)) throw otherThanScores(left, right);
    }
    scores.set(token, -(ranks.get(token) ?? merges.length + id));
  }
  return scores;
}

/** Every way to cut a text into two, between characters. */
function cutsOf(text: string): [left: string, right: string][] {
  const cuts: [string, string][] = [];
  let place = 0;
  for (const character of text) {
    if (place > 0) cuts.push([text.slice(0, place), text.slice(place)]);
    place += character.length;
  }
  return cuts;
}

function otherThanScores(left: string, right: string): KvlrError {
  return new KvlrError('unsupported-feature', {
    message: `expected a merge for every two tokens that make a third, as SentencePiece has it, got none for ${JSON.stringify([left, right])}`,
    hint: "llama.cpp would give other token ids. Convert the written checkpoint with llama.cpp's own convert_hf_to_gguf.py.",
    where: { file: 'tokenizer.json', argument: 'model.merges' },
    data: { left, right },
  });
}
