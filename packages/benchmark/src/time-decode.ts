import type { CacheDtype } from '@kvlr/core';
import { kernelCounters } from '@kvlr/kernels';
import type { SplitTime } from '@kvlr/report';
import type { DecoderModel, KeyValueCache } from '@kvlr/runtime';
import { type Tensor2D, zeros } from '@tensorflow/tfjs-core';
import { benchmarkedCache, fillCache, randomTokenIds } from './random-cache.ts';
import { timeLots } from './time-recorded-decode.ts';

export interface DecodeSubject {
  /** Times of the steps in milliseconds. Every call starts from the same context again. */
  measure(): Promise<number[]>;
  /** What one step reads and dispatches. */
  count(): Promise<{ bytesRead: number; dispatches: number }>;
  /** Where the device runs steps by itself, what one takes of the main thread and of the device; undefined elsewhere. */
  split(): Promise<SplitTime | undefined>;
  /** Bytes of the entries at the context. */
  readonly cacheBytes: number;
  /** Bytes of the whole cache. */
  readonly allocatedBytes: number;
  dispose(): void;
}

export interface DecodeSettings {
  context: number;
  tokens: number;
  batch: number;
  dtype: CacheDtype;
  seed: number;
}

/**
 * A model with a filled cache, ready to be timed at one context. One sequence is decoded as users decode: `generate`, greedily, with
 * tokens chosen on the device. Several sequences go through `extend`, whose logits come back to the host.
 */
export async function prepareDecode(model: DecoderModel, settings: DecodeSettings): Promise<DecodeSubject> {
  const { context, tokens, batch, dtype, seed } = settings;
  const cache = await model.createCache({
    ...benchmarkedCache(model.shape, dtype),
    batch,
    capacity: context + tokens + 1,
  });
  try {
    fillCache(cache, context, seed);
  } catch (error) {
    cache.dispose();
    throw error;
  }
  const cacheBytes = cache.usedBytes;
  const newIds = randomTokenIds(batch, model.vocabSize, seed + 1);
  const step = () =>
    model.extend(
      cache,
      newIds.map((id) => [id]),
    );
  return {
    cacheBytes,
    allocatedBytes: cache.byteLength,
    measure: () =>
      batch === 1 ? timeGeneration(model, cache, newIds[0]!, settings) : timeSteps(cache, step, settings),
    async count() {
      cache.truncate(context);
      kernelCounters.reset();
      await step();
      const { bytesRead, dispatches } = kernelCounters.total();
      cache.truncate(context);
      return { bytesRead, dispatches };
    },
    split: () => splitStep(model, cache, settings),
    dispose: () => cache.dispose(),
  };
}

/** Some lots of recorded steps from the context on, the first of which records and is not timed. */
async function splitStep(
  model: DecoderModel,
  cache: KeyValueCache,
  { context, tokens }: DecodeSettings,
): Promise<SplitTime | undefined> {
  const lotTokens = Math.min(4, Math.floor((tokens + 1) / 2));
  const decoding = await model.recordSteps(cache, {}, lotTokens);
  if (decoding === undefined) return undefined;
  const logits = zeros<Tensor2D['rankType']>([cache.batch, model.vocabSize]);
  try {
    cache.truncate(context);
    decoding.begin(logits, 1);
    decoding.start(lotTokens);
    await decoding.read();
    await decoding.read();
    const { host, device } = await timeLots(decoding, lotTokens, Math.floor((tokens + 1) / lotTokens) - 1);
    return { host, ...(device !== undefined && { device }) };
  } finally {
    decoding.dispose();
    logits.dispose();
    cache.truncate(context);
  }
}

/** The first new token of a call comes with the start of generation; those after it are timed. */
async function timeGeneration(
  model: DecoderModel,
  cache: KeyValueCache,
  newId: number,
  { context, tokens }: DecodeSettings,
): Promise<number[]> {
  const prompt = [...cache.tokenIds[0]!.slice(0, context), newId];
  const times: number[] = [];
  for await (const { index, milliseconds } of model.generate(prompt, { cache, maxNewTokens: tokens + 1 })) {
    if (index > 0) times.push(milliseconds);
  }
  return times;
}

async function timeSteps(
  cache: KeyValueCache,
  step: () => Promise<unknown>,
  { context, tokens }: DecodeSettings,
): Promise<number[]> {
  cache.truncate(context);
  const times: number[] = [];
  for (let token = 0; token < tokens; token++) {
    const started = performance.now();
    await step();
    times.push(performance.now() - started);
  }
  return times;
}

export interface PrefillSettings {
  promptTokens: number;
  batch: number;
  dtype: CacheDtype;
  seed: number;
}

/**
 * Milliseconds from prompts to the token after each, from an empty cache. One sequence goes through `generate`; of several the logits
 * come back to the host.
 */
export async function timePrefill(model: DecoderModel, settings: PrefillSettings): Promise<number> {
  const { promptTokens, batch, dtype, seed } = settings;
  const prompts = Array.from({ length: batch }, (_, b) => randomTokenIds(promptTokens, model.vocabSize, seed + b));
  const cache = await model.createCache({ ...benchmarkedCache(model.shape, dtype), batch, capacity: promptTokens });
  try {
    const started = performance.now();
    if (batch > 1) await model.extend(cache, prompts);
    else for await (const _ of model.generate(prompts[0]!, { cache, maxNewTokens: 1 }));
    return performance.now() - started;
  } finally {
    cache.dispose();
  }
}
