import {
  type CacheCodec,
  type CacheSide,
  type CodedCache,
  codedTokens,
  type DecoderShape,
  KvlrError,
  type SideCodec,
  type SideStatistics,
  slotsOfSide,
  type WindowAttention,
  type WindowReader,
} from '@kvlr/core';
import type { PolicyCache } from './policies/held-slot.ts';
import { PolicyLayer } from './policies/policy-layer.ts';

const sides: readonly CacheSide[] = ['keys', 'values'];

export interface WindowReaderRequest {
  shape: DecoderShape;
  cache: CodedCache;
  /** For codecs that need them: statistics of the sides of each layer, see `sideStatistics`. */
  statistics?: readonly Record<CacheSide, SideStatistics>[] | undefined;
}

/**
 * Windows read through a coded cache: every key and value is encoded and decoded, block by block, as its codec stores it.
 *
 * @throws KvlrError as `requireCacheFits` does; 'invalid-argument' where a codec needs statistics and there are none.
 */
export function windowReader({ shape, cache, statistics }: WindowReaderRequest): WindowReader {
  requireCacheFits(shape, cache);
  requireWindowsFit(cache);
  const { codec, policy } = cache;
  if (policy !== undefined) return policyReader({ ...cache, policy });
  const codecs = shape.layers.map(({ cache: layout }, layer) => {
    const create = (side: CacheSide): SideCodec =>
      codec[side].create({
        ...slotsOfSide(layout, side),
        ...{ layer, side },
        statistics: codec[side].needsStatistics ? statistics?.[layer]?.[side] : undefined,
      });
    return { keys: create('keys'), values: create('values') };
  });
  return {
    keys: codec.keys.keys,
    read({ layer, tokens, ...rows }) {
      const read = (side: CacheSide): Float32Array => {
        const { blockTokens } = codec[side];
        const { from, to } = codedRange(cache, side, tokens);
        const width = rows[side].length / tokens;
        const result = rows[side].slice();
        if (to === from) return result;
        // The window's coded tokens as they lie behind the first exact ones, in whole blocks.
        const count = blockTokens * Math.floor((to - from) / blockTokens);
        const coded = rows[side].subarray(from * width, (from + count) * width);
        const { [side]: sideCodec } = codecs[layer]!;
        result.set(sideCodec.decode(sideCodec.encode(coded, count), count), from * width);
        return result;
      };
      return { keys: read('keys'), values: read('values') };
    },
    coded: (side, tokens) => codedRange(cache, side, tokens),
  };
}

/** A window read token by token under a policy, which codes by itself what stays. */
function policyReader(cache: PolicyCache): WindowReader {
  return {
    keys: 'rotated',
    read: ({ keys, values }) => ({ keys, values }),
    coded: () => ({ from: 0, to: 0 }),
    attend: (window: WindowAttention) => new PolicyLayer(window, cache).attend(window),
  };
}

/** Throws 'unsupported-feature' for a policy that is asked at the end of a text: windows have none where their tokens are scored. */
export function requireWindowsFit({ policy: settings }: Pick<CodedCache, 'policy'>): void {
  const { readsAgain, title } = settings?.policy ?? {};
  if (!readsAgain) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected a policy that is asked while a text is read for whole windows, got "${title}", which reads it again first`,
    hint: 'Generate with it, or measure it by kvlr eval --long-context.',
    where: { argument: 'policy' },
  });
}

function codedRange(cache: CodedCache, side: CacheSide, tokens: number): { from: number; to: number } {
  const from = Math.min(cache.first, tokens);
  return { from, to: from + codedTokens(cache.codec[side], cache, tokens) };
}

/**
 * Throws 'unsupported-feature' where the model's heads cannot be stored so: a width that a format does not take; latent keys, which
 * exist after their rotation only, in a format that stores keys before it; a policy over anything but tokens that are stored one by one, as
 * attention reads them, and over heads with a key and a value each.
 */
export function requireCacheFits(shape: DecoderShape, { codec, policy }: Pick<CodedCache, 'codec' | 'policy'>): void {
  for (const [layer, { cache }] of shape.layers.entries()) {
    for (const side of sides) {
      const slots = slotsOfSide(cache, side);
      const refused = codec[side].refuse?.(slots);
      if (refused === undefined) continue;
      throw new KvlrError('unsupported-feature', {
        message: `expected ${refused} for ${side} in a cache of ${codec.title}, got ${slots.slots} of width ${slots.width}`,
        hint: 'Choose a codec without blocks across the width, such as int8 or channel-4.',
        where: { layer },
        data: { side, ...slots },
      });
    }
    if (cache.keys === 'latent' && codec.keys.keys === 'projected') {
      throw new KvlrError('unsupported-feature', {
        message: `expected keys that can be stored before RoPE for a cache of ${codec.title}, got latent keys`,
        hint: 'Choose a codec of rotated keys, such as int8, or a method that leaves ordinary keys.',
        where: { layer },
        data: { keys: cache.keys },
      });
    }
    if (policy !== undefined) requirePolicyFits(shape, layer, codec);
  }
}

function requirePolicyFits(
  { layers, attention }: DecoderShape,
  layer: number,
  { keys, values, title }: CacheCodec,
): void {
  const { cache, positions, window } = layers[layer]!;
  const refused =
    keys.blockTokens > 1 || values.blockTokens > 1 || keys.keys === 'projected'
      ? ['tokens that are stored one by one, keys behind RoPE,', title]
      : cache.keys === 'rebuilt' || cache.keySlots !== cache.valueSlots
        ? [
            'KV heads with a key and a value each',
            `${cache.keySlots} ${cache.keys} keys and ${cache.valueSlots} values`,
          ]
        : positions.kind === 'alibi' || window !== undefined || attention.softCap !== undefined
          ? ['attention over the whole text without penalties or caps', 'another']
          : undefined;
  if (refused === undefined) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected ${refused[0]} for a cache with a policy, got ${refused[1]}`,
    hint: 'Take a codec such as f16, int8 or q8_0, or leave the policy out.',
    where: { layer },
  });
}
