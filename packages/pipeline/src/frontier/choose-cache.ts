/** A way to store the cache that an engine has, and what it costs with the model's own heads. */
export interface MeasuredCache {
  name: string;
  /** Logarithm of perplexity over that of the base, measured or summed from its sides, with one standard error of each measurement. */
  cost: number;
}

/** A number of heads, and what it costs with an exact cache. */
export interface MeasuredHeads {
  name: string;
  /** Heads kept, in widths of the model's own: 1 for its own. */
  share: number;
  cost: number;
}

/** Heads and a cache together. */
export interface CacheCandidate {
  heads: string;
  cache: string;
  /** Share of the base's bytes at the context that is planned for. */
  bytes: number;
  /** Logarithm of perplexity over that of the base, by `predictCost`. */
  predicted: number;
}

/**
 * What fewer heads and fewer bits cost together: a(G) + e(codec) (H / G)^0.85. The fewer heads share the work, the more each one's bits
 * matter; the exponent is fitted to measurements of the embedded model.
 *
 * @returns The logarithm of perplexity over that of the base. Measured gains count as none.
 */
export function predictCost(heads: Pick<MeasuredHeads, 'cost' | 'share'>, cache: Pick<MeasuredCache, 'cost'>): number {
  return Math.max(0, heads.cost) + Math.max(0, cache.cost) * (1 / heads.share) ** 0.85;
}

/** Every candidate within the budget, the best predicted first; of equals the one with more heads, then the one of fewer bytes. */
export function rankCandidates(
  heads: readonly MeasuredHeads[],
  caches: readonly MeasuredCache[],
  bytesOf: (heads: string, cache: string) => number | undefined,
  budget: number,
): CacheCandidate[] {
  const shares = new Map(heads.map(({ name, share }) => [name, share]));
  const candidates = heads.flatMap((ofHeads) =>
    caches.flatMap((cache): CacheCandidate[] => {
      const bytes = bytesOf(ofHeads.name, cache.name);
      if (bytes === undefined || bytes > budget * (1 + 1e-9)) return [];
      return [{ heads: ofHeads.name, cache: cache.name, bytes, predicted: predictCost(ofHeads, cache) }];
    }),
  );
  return candidates.sort(
    (a, b) => a.predicted - b.predicted || shares.get(b.heads)! - shares.get(a.heads)! || a.bytes - b.bytes,
  );
}
