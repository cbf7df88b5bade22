import { type DecoderShape, throwIfAborted } from '@kvlr/core';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import type { CacheSettings } from '../cache/cache-settings.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import {
  checkGenerationSettings,
  checkHistory,
  checkPromptLength,
  type GeneratedToken,
  type GenerationSettings,
} from './generation-settings.ts';
import {
  type DeviceStep,
  RecordedSampler,
  type RecordedSteps,
  type TextInTheMaking,
  TokenSampler,
} from './token-sampler.ts';

/** What generation needs of a model. */
export interface GenerationModel {
  readonly shape: DecoderShape;
  /** Settings of caches that nothing else is said about. */
  readonly cacheSettings: CacheSettings;
  /** Tokens read together where nothing else is said. */
  readonly tokensPerReadback: number;
  createCache(settings: CacheSettings): Promise<KeyValueCache>;
  /** Runs work on the device, whose failures become typed errors. */
  guarded<Result>(work: () => Promise<Result>): Promise<Result>;
  /** Logits after a prompt, on the device, [1, vocabSize]. */
  prefill(cache: KeyValueCache, tokenIds: readonly number[]): Promise<Tensor2D>;
  step: DeviceStep;
  /** Steps behind a cache that are recorded once, where the model and its backend can; lots have `tokensPerReadback` tokens. */
  record?: (
    cache: KeyValueCache,
    history: Tensor2D | undefined,
    settings: GenerationSettings,
    tokensPerReadback: number,
  ) => RecordedSteps;
  /** Lets the host breathe, and makes the model's backend the active one again. */
  activate(): Promise<void>;
}

/**
 * Prefills a cache with the prompt, then decodes a token at a time, all on the device; ids are read back in small lots. Ends
 * after maxNewTokens, at a stop id, or where the context is full, and says so with the last token. Throws 'aborted' when the
 * signal fires, and frees what it holds however it ends.
 */
export async function* generateTokens(
  model: GenerationModel,
  promptIds: ArrayLike<number>,
  settings: GenerationSettings,
): AsyncGenerator<GeneratedToken, void, undefined> {
  checkGenerationSettings(settings);
  const { stopIds = [], signal, tokensPerReadback = model.tokensPerReadback } = settings;
  const limits = settings.cache?.settings ?? model.cacheSettings;
  checkPromptLength(model.shape, promptIds.length, limits.window ?? 0);
  throwIfAborted(signal);
  const prompt = Array.from(promptIds);
  // The last new token is chosen but never run, so it needs no place.
  const room = contextLength(model.shape, limits) - prompt.length + 1;
  const newTokens = Math.min(settings.maxNewTokens, room);
  checkHistory(prompt.length, newTokens, settings);
  if (newTokens === 0 && settings.cache === undefined) return;
  const release = settings.cache?.hold();
  const cache = settings.cache ?? (await createFittingCache(model, Math.max(1, prompt.length + newTokens - 1)));
  const sampling = { ...settings, maxNewTokens: newTokens };
  let index = 0;
  let text: TextInTheMaking | undefined;
  try {
    let started = performance.now();
    const logits = await model.guarded(() => model.prefill(cache, forgetAllButPrefix(cache, prompt)));
    const { record } = model;
    const { recorded = true, logprobs = false } = settings;
    const sampler =
      record === undefined || !recorded || logprobs
        ? new TokenSampler(cache, prompt, logits, model.step, sampling)
        : new RecordedSampler(
            cache,
            prompt,
            logits,
            (history) => record(cache, history, sampling, tokensPerReadback),
            sampling,
          );
    text = sampler;
    while (index < newTokens) {
      throwIfAborted(signal);
      const count = Math.min(tokensPerReadback, newTokens - index);
      const following = Math.min(tokensPerReadback, newTokens - index - count);
      const tokens = await model.guarded(() => sampler.take(count, following));
      const milliseconds = (performance.now() - started) / count;
      for (const token of tokens) {
        throwIfAborted(signal);
        if (stopIds.includes(token.tokenId)) return;
        const cachedTokens = prompt.length + index;
        const cacheBytes = cache.bytesOfLength(cachedTokens);
        const step: GeneratedToken = { ...token, index: index++, milliseconds, cachedTokens, cacheBytes };
        if (index === newTokens) step.finishReason = index === settings.maxNewTokens ? 'length' : 'context-full';
        yield step;
      }
      started = performance.now();
      await model.activate();
    }
  } finally {
    text?.dispose();
    if (settings.cache === undefined) cache.dispose();
    // Tokens that were run ahead of a stop, or of a reader who left, are no part of the text.
    else if (cache.canTruncate(prompt.length + index)) cache.truncate(prompt.length + index);
    release?.();
  }
}

/** Tokens that a text can have: none is too many for a cache with a window. */
function contextLength({ maxPositionEmbeddings }: DecoderShape, { window = 0, capacity }: CacheSettings): number {
  if (window > 0) return Number.POSITIVE_INFINITY;
  return Math.min(maxPositionEmbeddings, capacity ?? maxPositionEmbeddings);
}

function createFittingCache(model: GenerationModel, capacity: number): Promise<KeyValueCache> {
  const { window = 0, capacity: asked } = model.cacheSettings;
  return model.createCache(window > 0 || asked !== undefined ? {} : { capacity });
}

/** Leaves in a cache what it shares with the prompt, and returns the part of the prompt that is to be run: one token at least. */
function forgetAllButPrefix(cache: KeyValueCache, prompt: readonly number[]): readonly number[] {
  const held = cache.tokenIds[0]!;
  let shared = 0;
  while (shared < Math.min(held.length, prompt.length - 1) && held[shared] === prompt[shared]) shared++;
  const kept = cache.canTruncate(shared) ? shared : 0;
  cache.truncate(kept);
  return prompt.slice(kept);
}

/**
 * Waits for one turn of the event loop, so that timers, signals and painting get through: on wasm and cpu the reading of
 * a result is no real wait. setTimeout would be held back to 4 ms in browsers.
 */
export function yieldToHost(): Promise<void> {
  const { setImmediate } = globalThis as { setImmediate?: (resume: () => void) => void };
  if (setImmediate !== undefined) return new Promise((resolve) => setImmediate(resolve));
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    Object.assign(port1, {
      onmessage: () => {
        port1.close();
        resolve();
      },
    });
    port2.postMessage(undefined);
  });
}
