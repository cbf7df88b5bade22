import type { CacheDtype } from '@kvlr/core';
import type { DecoderModel } from '@kvlr/runtime';
import { randomTokenIds } from './fill-cache.ts';

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
  const cache = await model.createCache({ dtype, batch, capacity: promptTokens });
  try {
    const started = performance.now();
    if (batch > 1) await model.extend(cache, prompts);
    else for await (const _ of model.generate(prompts[0]!, { cache, maxNewTokens: 1 }));
    return performance.now() - started;
  } finally {
    cache.dispose();
  }
}
