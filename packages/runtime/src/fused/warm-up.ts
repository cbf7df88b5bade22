import type { DecoderShape } from '@kvlr/core';
import { sampleTokens } from '@kvlr/kernels';
import type { CacheSettings } from '../cache/cache-settings.ts';
import { KeyValueCache } from '../cache/key-value-cache.ts';
import type { FusedDecoder } from './fused-decoder.ts';

/**
 * Builds the pipelines of prompts, of tokens in a short and in a long context and of choosing tokens, by running each once. Only
 * the first text would wait for them otherwise. `onStep` is called after each.
 */
export async function warmUp(
  shape: DecoderShape,
  fused: FusedDecoder,
  cacheSettings: CacheSettings,
  onStep: (completed: number, total: number) => void,
): Promise<void> {
  // Longer than one chunk of decode attention.
  const prompt = Array(160).fill(0);
  const { capacity = prompt.length + 2, window = 0 } = cacheSettings;
  const length = Math.min(prompt.length, shape.maxPositionEmbeddings - 2, window > 0 ? prompt.length : capacity - 2);
  const cache = new KeyValueCache(shape, { ...cacheSettings, batch: 1 });
  const pause = async () => {};
  try {
    for (const [place, ids] of [[0], prompt.slice(0, length), [0]].entries()) {
      if (ids.length === 0) continue;
      const logits = await fused.extend(cache, [ids], pause);
      const chosen = sampleTokens(logits);
      await chosen.data();
      logits.dispose();
      chosen.dispose();
      onStep(place + 1, 3);
    }
  } finally {
    cache.dispose();
  }
}
