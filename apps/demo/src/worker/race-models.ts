import type { CacheStorage, Tokenizer } from '@kvlr/core';
import type { DecoderModel, GeneratedToken } from '@kvlr/runtime';
import { type Side, sides, type WritingProgress } from '../messages.ts';

/** A model and how its cache keeps numbers. */
export interface Racer {
  model: Pick<DecoderModel, 'generate' | 'createCache'>;
  cache: CacheStorage;
}

interface RaceRequest {
  racers: Readonly<Record<Side, Racer>>;
  tokenizer: Pick<Tokenizer, 'decode' | 'endOfSequenceIds'>;
  promptIds: readonly number[];
  newTokens: number;
  signal: AbortSignal;
}

/** One model's text in the making. */
interface Runner {
  side: Side;
  tokens: AsyncIterableIterator<GeneratedToken>;
  tokenIds: number[];
  finished: boolean;
}

/**
 * Lets both models continue the prompt in turns, the likeliest token each time, so that their texts grow side by side. Every token is
 * read back before the other model's turn begins.
 */
export async function raceModels(
  request: RaceRequest,
  onToken: (progress: WritingProgress) => void,
): Promise<Record<Side, number[]>> {
  const { racers, promptIds, newTokens, signal, tokenizer } = request;
  const runners: Runner[] = [];
  const caches = [];
  try {
    for (const side of sides) {
      const { model, cache: storage } = racers[side];
      const cache = await model.createCache({ ...storage, capacity: promptIds.length + newTokens });
      caches.push(cache);
      const settings = { maxNewTokens: newTokens, tokensPerReadback: 1, recorded: false, cache, signal };
      const tokens = model.generate(promptIds, { ...settings, stopIds: tokenizer.endOfSequenceIds });
      runners.push({ side, tokens, tokenIds: [], finished: false });
    }
    while (runners.some(({ finished }) => !finished)) {
      for (const runner of runners) {
        const value = await nextToken(runner);
        if (value) onToken(progressOf(runner, runners, value, tokenizer));
      }
    }
  } finally {
    for (const { tokens } of runners) await tokens.return?.();
    for (const cache of caches) cache.dispose();
  }
  return Object.fromEntries(runners.map(({ side, tokenIds }) => [side, tokenIds])) as Record<Side, number[]>;
}

async function nextToken(runner: Runner): Promise<GeneratedToken | undefined> {
  if (runner.finished) return undefined;
  const { done, value } = await runner.tokens.next();
  if (done) {
    runner.finished = true;
    return undefined;
  }
  runner.tokenIds.push(value.tokenId);
  return value;
}

function progressOf(
  { side, tokenIds }: Runner,
  runners: readonly Runner[],
  { cachedTokens, cacheBytes }: GeneratedToken,
  tokenizer: RaceRequest['tokenizer'],
): WritingProgress {
  const decode = (ids: readonly number[]) => tokenizer.decode([...ids], { skipSpecialTokens: true });
  const sharedTokens = sharedLength(runners[0]!.tokenIds, runners[1]!.tokenIds);
  return {
    side,
    text: decode(tokenIds),
    sharedCharacters: decode(tokenIds.slice(0, sharedTokens)).length,
    newTokens: tokenIds.length,
    sharedTokens,
    cachedTokens,
    cacheBytes,
  };
}

/** How many tokens two texts have in common from the start; while one is shorter and they agree, its length counts. */
export function sharedLength(first: readonly number[], second: readonly number[]): number {
  const length = Math.min(first.length, second.length);
  let shared = 0;
  while (shared < length && first[shared] === second[shared]) shared++;
  // The one that is ahead has not parted from one that is still to come.
  return shared === length ? Math.max(first.length, second.length) : shared;
}

/**
 * Tokens a second of one model alone, over a whole text: from when its first token has been read back, which ends the prompt, until the
 * last one has. Steps that a GPU runs ahead are its own, and are waited for.
 */
export async function measureSpeed(
  { model, cache: storage }: Racer,
  promptIds: readonly number[],
  newTokens: number,
  signal: AbortSignal,
): Promise<number | undefined> {
  const cache = await model.createCache({ ...storage, capacity: promptIds.length + newTokens });
  try {
    let first: number | undefined;
    let read = 0;
    for await (const _ of model.generate(promptIds, { maxNewTokens: newTokens, cache, signal })) {
      first ??= performance.now();
      read++;
    }
    return first === undefined || read < 2 ? undefined : (1000 * (read - 1)) / (performance.now() - first);
  } finally {
    cache.dispose();
  }
}
