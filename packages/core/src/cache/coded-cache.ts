import { cacheWidth, type LayerCacheLayout } from '../model/decoder-shape.ts';
import type { CachedLayers } from './cache-bytes.ts';
import { type CacheCodec, type CacheSide, type SideFormat, slotsOfSide } from './cache-codec.ts';
import type { CachePolicy, PolicySettings } from './cache-policy.ts';

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
  /** Lets only some tokens stay. The exact ones always do. */
  policy?: PolicySettings | undefined;
}

/** Tokens between two questions to a policy: as many as there are in a step of a prompt that is read in chunks. */
export const policyTokens = 32;

/** Most tokens that a policy lets stay of so many, first and newest exact ones included; at least 1. */
export function policyBudget({ keep }: PolicySettings, { first, window }: ExactTokens, tokens: number): number {
  return Math.min(tokens, Math.max(1, Math.ceil(keep * tokens - 1e-9), first + window));
}

/**
 * Tokens that attention reads of a text of `tokens`: with a policy its budget when it was last asked, and what came since. A cache holds no others,
 * but for the keys of a policy that fetches values.
 */
export function heldTokens(cache: Pick<CodedCache, 'policy' | keyof ExactTokens>, tokens: number): number {
  if (cache.policy === undefined) return tokens;
  const asked = askedTokens(cache.policy, tokens);
  return policyBudget(cache.policy, cache, asked) + tokens - asked;
}

/** Tokens of a text when its policy was last asked. One that reads texts again is asked at their end. */
function askedTokens({ policy }: PolicySettings, tokens: number): number {
  return policy.readsAgain ? tokens : policyTokens * Math.floor(tokens / policyTokens);
}

/** Bytes of a token's place beside its value, where those on the device are not all. */
export const fetchedPlaceBytes = 4;

/** Bytes of what a policy must know of a token in a slot to be asked again: its position, the attention that it has had, and its count. */
export function policyTokenBytes({ countsTokens = false }: Pick<CachePolicy, 'countsTokens'>): number {
  return countsTokens ? 12 : 8;
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

/**
 * Exact bytes of the cache of one sequence of so many tokens: codes, scales, padding, the exact tokens at two bytes a number, and what a
 * policy keeps of each token that it lets stay. Under a policy every slot is coded by itself, when the policy has been asked. Of one that fetches
 * values: what is on the device, `hostCacheBytes` has the rest.
 */
export function codedCacheBytes({ layers }: CachedLayers, cache: CodedCache, tokens: number): number {
  return layers.reduce(
    (sum, { cache: layout }) =>
      sum +
      (cache.policy === undefined
        ? layerBytes(layout, cache, tokens)
        : layerBytesUnderPolicy(layout, { ...cache, policy: cache.policy }, tokens)),
    0,
  );
}

function layerBytes(layout: LayerCacheLayout, cache: CodedCache, tokens: number): number {
  return sides.reduce((sum, side) => {
    const shape = slotsOfSide(layout, side);
    const coded = codedTokens(cache.codec[side], cache, tokens);
    return sum + cache.codec[side].byteLength(shape, coded) + 2 * shape.slots * shape.width * (tokens - coded);
  }, 0);
}

function layerBytesUnderPolicy(
  layout: LayerCacheLayout,
  cache: CodedCache & { policy: PolicySettings },
  tokens: number,
): number {
  const { policy } = cache.policy;
  const held = heldTokens(cache, tokens);
  const asked = askedTokens(cache.policy, tokens);
  const settled = policyBudget(cache.policy, cache, asked);
  const { keySlots, keySlotWidth } = layout;
  const valueBytes = settledBytes(layout, 'values', cache, { settled, held });
  if (policy.fetches === undefined) {
    const keyBytes = settledBytes(layout, 'keys', cache, { settled, held });
    return keyBytes + valueBytes + policyTokenBytes(policy) * keySlots * held;
  }
  const keyBytes = settledBytes(layout, 'keys', cache, { settled: asked, held: tokens });
  const landmarks = 2 * keySlotWidth * (asked / policy.fetches.chunkTokens);
  return keyBytes + valueBytes + keySlots * (landmarks + fetchedPlaceBytes * held);
}

/** Bytes of one side where every slot holds so many tokens, of which so many were there when the policy was last asked. */
function settledBytes(
  layout: LayerCacheLayout,
  side: CacheSide,
  cache: CodedCache,
  { settled, held }: { settled: number; held: number },
): number {
  const { slots, width } = slotsOfSide(layout, side);
  return slots * slotBytes(cache.codec[side], width, cache, { settled, held });
}

/** The same of one slot: its exact tokens and those since are halves. */
export function slotBytes(
  format: SideFormat,
  width: number,
  { first, window }: ExactTokens,
  { settled, held }: { settled: number; held: number },
): number {
  const coded = Math.max(0, settled - first - window);
  return format.byteLength({ slots: 1, width }, coded) + 2 * width * (held - coded);
}

/**
 * Exact bytes beside them in host memory, where a policy fetches values: all values that were there when it was last asked, and what it keeps of
 * each token. 0 for other caches.
 */
export function hostCacheBytes({ layers }: CachedLayers, cache: CodedCache, tokens: number): number {
  const { policy: settings } = cache;
  if (settings?.policy.fetches === undefined) return 0;
  const asked = askedTokens(settings, tokens);
  const beside = policyTokenBytes(settings.policy) * tokens;
  return layers.reduce(
    (sum, { cache: layout }) =>
      sum + settledBytes(layout, 'values', cache, { settled: asked, held: asked }) + beside * layout.keySlots,
    0,
  );
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
