import {
  type CacheSide,
  type CodedCache,
  codedTokens,
  type DecoderShape,
  KvlrError,
  type SideCodec,
  type SideStatistics,
  slotsOfSide,
  type WindowReader,
} from '@kvlr/core';

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
  const { codec } = cache;
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

function codedRange(cache: CodedCache, side: CacheSide, tokens: number): { from: number; to: number } {
  const from = Math.min(cache.first, tokens);
  return { from, to: from + codedTokens(cache.codec[side], cache, tokens) };
}

/**
 * Throws 'unsupported-feature' where the model's heads cannot be stored so: a width that a format does not take, or latent keys, which
 * exist after their rotation only, in a format that stores keys before it.
 */
export function requireCacheFits(shape: DecoderShape, { codec }: Pick<CodedCache, 'codec'>): void {
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
  }
}
