import { cacheWidth } from '../model/decoder-shape.ts';
import type { CachedLayers } from './cache-bytes.ts';
import { type CacheCodec, type CacheSide, type SideFormat, slotsOfSide } from './cache-codec.ts';

/** Which tokens of a cache stay as they are, in halves, beside those that are coded. */
export interface ExactTokens {
  /** Newest tokens that are exact; at least so many, since blocks are coded whole. */
  window: number;
  /** First tokens that are exact. */
  first: number;
}

/** A cache whose entries are coded but for some exact tokens. */
export interface CodedCache extends ExactTokens {
  codec: CacheCodec;
}

const sides: readonly CacheSide[] = ['keys', 'values'];

/**
 * Tokens that one side holds coded when the text has `tokens` of them: whole blocks behind the first exact tokens, as long as
 * `window` tokens stay exact at the end.
 */
export function codedTokens(
  { blockTokens }: Pick<SideFormat, 'blockTokens'>,
  exact: ExactTokens,
  tokens: number,
): number {
  return blockTokens * Math.floor(Math.max(0, tokens - exact.first - exact.window) / blockTokens);
}

/** Exact bytes of the cache of one sequence of so many tokens: codes, scales, padding, and the exact tokens at two bytes a number. */
export function codedCacheBytes({ layers }: CachedLayers, cache: CodedCache, tokens: number): number {
  let bytes = 0;
  for (const layer of layers) {
    for (const side of sides) {
      const shape = slotsOfSide(layer.cache, side);
      const coded = codedTokens(cache.codec[side], cache, tokens);
      bytes += cache.codec[side].byteLength(shape, coded) + 2 * shape.slots * shape.width * (tokens - coded);
    }
  }
  return bytes;
}

/** Tokens over which blocks fill up: the mean over so many lengths does not depend on where a block ends. */
const BLOCK_CYCLE = 32;

/** The same on average over the last 32 lengths up to this one: blocks that are not full yet hold exact tokens. */
export function meanCodedCacheBytes(shape: CachedLayers, cache: CodedCache, tokens: number): number {
  const lengths = Array.from({ length: Math.min(BLOCK_CYCLE, tokens) }, (_, before) => tokens - before);
  const perToken = lengths.map((length) => codedCacheBytes(shape, cache, length) / length);
  return (tokens * perToken.reduce((sum, bytes) => sum + bytes, 0)) / lengths.length;
}

/** Bytes that a codec keeps once for a model, beside its weights. */
export function codecTableBytes({ layers }: CachedLayers, codec: CacheCodec): number {
  return layers.reduce(
    (sum, { cache }) =>
      sum + sides.reduce((of, side) => of + (codec[side].tableBytes?.(slotsOfSide(cache, side)) ?? 0), 0),
    0,
  );
}

/** Bytes of the cache with every number a half: what shares of a cache are shares of. */
export function halfCacheBytes({ layers }: CachedLayers, tokens: number): number {
  return 2 * tokens * layers.reduce((sum, { cache }) => sum + cacheWidth(cache), 0);
}
