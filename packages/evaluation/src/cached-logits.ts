import type { LogitSource } from '@kvlr/core';

export interface LogitCacheSettings {
  /**
   * Bytes of logits to keep. A window of T tokens takes 4 x T x vocabSize; 72 windows of 512 tokens and 4,096 entries take
   * 604 MB. Default 640 MiB.
   */
  maxBytes?: number;
}

export interface CachedLogits extends LogitSource {
  /** Bytes that are kept now. */
  readonly cachedBytes: number;
  /** Forgets everything. */
  clear(): void;
}

/**
 * Wraps a source of logits and remembers its answers, so that many candidates can be evaluated against one base that runs once.
 * What comes first is kept until the limit is reached, and the rest is computed each time: evaluations read the windows in the
 * same order, for which evicting the oldest would never hit. Losses pass through: they are no logits to be kept. Callers must not change the arrays they get.
 */
export function cachedLogits(source: LogitSource, settings: LogitCacheSettings = {}): CachedLogits {
  const maxBytes = settings.maxBytes ?? 640 * 2 ** 20;
  const kept = new Map<string, Promise<Float32Array>>();
  let cachedBytes = 0;
  return {
    vocabSize: source.vocabSize,
    concurrency: source.concurrency ?? 1,
    ...(source.losses && { losses: (tokenIds, targets) => source.losses!(tokenIds, targets) }),
    get cachedBytes() {
      return cachedBytes;
    },
    logits(tokenIds) {
      const key = tokenIds.join(' ');
      const known = kept.get(key);
      if (known) return known;
      const answer = source.logits(tokenIds);
      const bytes = 4 * tokenIds.length * source.vocabSize;
      if (cachedBytes + bytes > maxBytes) return answer;
      cachedBytes += bytes;
      kept.set(key, answer);
      answer.catch(() => {
        if (kept.get(key) !== answer) return;
        kept.delete(key);
        cachedBytes -= bytes;
      });
      return answer;
    },
    clear() {
      kept.clear();
      cachedBytes = 0;
    },
  };
}
