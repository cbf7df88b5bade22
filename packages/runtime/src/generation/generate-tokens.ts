import { createRandom, KvlrError, throwIfAborted } from '@kvlr/core';
import type { DecoderModel } from '../decoder/decoder-model.ts';
import type { GeneratedToken, GenerationSettings } from './generation-settings.ts';
import { logProbability } from './log-probability.ts';
import { penaliseRepetition } from './penalise-repetition.ts';
import { sampleToken } from './sample-token.ts';

/**
 * Prefills a cache with the prompt, then decodes a token at a time. Ends after maxNewTokens, at a stop id, or at the
 * model's last position. Throws 'aborted' when the signal fires, and frees the cache however it ends.
 */
export async function* generateTokens(
  model: Pick<DecoderModel, 'shape' | 'createCache' | 'extend'>,
  promptIds: ArrayLike<number>,
  settings: GenerationSettings,
): AsyncGenerator<GeneratedToken, void, undefined> {
  const { maxNewTokens, seed = 0, stopIds = [], repetitionPenalty = 1, logprobs = false, signal } = settings;
  checkSettings(settings);
  const { maxPositionEmbeddings } = model.shape;
  if (promptIds.length > maxPositionEmbeddings) {
    throw new KvlrError('invalid-argument', {
      message: `generate: expected a prompt of at most ${maxPositionEmbeddings} tokens, got ${promptIds.length}.`,
      remedy: 'Shorten the prompt: the model knows no positions beyond.',
      data: { maxPositionEmbeddings, promptTokens: promptIds.length },
    });
  }
  throwIfAborted(signal);
  const random = createRandom(seed);
  const seen = new Set(Array.from(promptIds));
  const newTokens = Math.min(maxNewTokens, maxPositionEmbeddings - promptIds.length + 1);
  // The last new token is chosen but never run, so it needs no place.
  const cache = await model.createCache(Math.max(1, promptIds.length + newTokens - 1));
  try {
    let pending = promptIds;
    let started = performance.now();
    for (let index = 0; index < newTokens; index++) {
      const logits = await model.extend(cache, pending);
      throwIfAborted(signal);
      const tokenId = sampleToken(penaliseRepetition(logits, seen, repetitionPenalty), settings, random);
      if (stopIds.includes(tokenId)) return;
      const now = performance.now();
      yield {
        tokenId,
        ...(logprobs && { logprob: logProbability(logits, tokenId) }),
        index,
        milliseconds: now - started,
        cachedTokens: cache.length,
        cacheBytes: cache.byteLength,
      };
      seen.add(tokenId);
      throwIfAborted(signal);
      started = performance.now();
      pending = [tokenId];
    }
  } finally {
    cache.dispose();
  }
}

function checkSettings(settings: GenerationSettings): void {
  const { maxNewTokens, temperature = 0, topK = 1, topP = 1, repetitionPenalty: penalty = 1 } = settings;
  const expectations: [name: string, holds: boolean, expected: string, received: number][] = [
    ['maxNewTokens', Number.isInteger(maxNewTokens) && maxNewTokens >= 0, 'a whole number from 0', maxNewTokens],
    ['temperature', temperature >= 0 && Number.isFinite(temperature), 'a finite number from 0', temperature],
    ['topK', Number.isInteger(topK) && topK >= 1, 'a whole number from 1', topK],
    ['repetitionPenalty', penalty > 0 && Number.isFinite(penalty), 'a finite number above 0', penalty],
    ['topP', topP > 0 && topP <= 1, 'a number above 0, at most 1', topP],
  ];
  for (const [name, holds, expected, received] of expectations) {
    if (holds) continue;
    throw new KvlrError('invalid-argument', {
      message: `generate: expected ${name} to be ${expected}, got ${received}.`,
      data: { [name]: received },
    });
  }
}
