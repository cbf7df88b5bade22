import { type ModelSource, type SideStatistics, throwIfAborted } from '@kvlr/core';
import type { CacheSettings, DecoderModel, KeyValueCache } from '@kvlr/runtime';
import type { ModelRunner } from '../models/runner.ts';
import type { NamedCache } from './caches.ts';
import { generatedCache } from './generated-cache.ts';

/** Rounds in which the caches take turns, and tokens that each generates in one. */
const [rounds, tokensOfRound] = [3, 7];

/** Prompts and tokens that timing one cache takes. */
export const timedRounds = { prompts: rounds, tokens: rounds * tokensOfRound };

export interface TimeCachesRequest {
  caches: readonly { named: NamedCache; statistics?: Record<'keys' | 'values', SideStatistics>[] | undefined }[];
  /** What stands in the caches before the timed tokens. */
  prompt: Int32Array;
  signal?: AbortSignal | undefined;
}

/**
 * Tokens a second behind each of the caches that the backend's kernels read as they are stored, by name: the median over tokens that are
 * generated in turns behind a prompt. Those that the host decodes first, and policies, are not timed: what they would take in kernels is not
 * known.
 */
export async function timeCaches(
  runner: ModelRunner,
  source: ModelSource,
  { caches, prompt, signal }: TimeCachesRequest,
): Promise<Map<string, number>> {
  const timed = caches
    .map(({ named, statistics }) => ({ name: named.name, settings: generatedCache(named, statistics) }))
    .filter(({ settings }) => settings.coded === undefined);
  // The last tokens have positions of their own.
  const most = source.shape.maxPositionEmbeddings - tokensOfRound - 1;
  const ids = Array.from(prompt.subarray(0, Math.max(1, Math.min(prompt.length, most))));
  if (timed.length === 0 || most < 1) return new Map();
  return runner.useGenerating(source, async (model) => {
    const times = new Map(timed.map(({ name }) => [name, [] as number[]]));
    for (let round = 0; round < rounds; round++) {
      for (const { name, settings } of timed) {
        throwIfAborted(signal);
        times.get(name)!.push(...(await timeTokens(model, settings, ids)));
      }
    }
    return new Map(Array.from(times, ([name, of]) => [name, 1000 / median(of)]));
  });
}

/** Milliseconds of tokens behind a prompt, without the first, which comes with it, and the second, which begins the loop. */
async function timeTokens(model: DecoderModel, settings: CacheSettings, ids: readonly number[]): Promise<number[]> {
  const cache: KeyValueCache = await model.createCache(settings);
  const times: number[] = [];
  try {
    for await (const { index, milliseconds } of model.generate(ids, { cache, maxNewTokens: tokensOfRound })) {
      if (index > 1) times.push(milliseconds);
    }
  } finally {
    cache.dispose();
  }
  return times;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
