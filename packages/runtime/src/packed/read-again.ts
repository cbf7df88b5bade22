import { KvlrError } from '@kvlr/core';
import type { DevicePolicy } from '../cache/device-policy.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import { PolicyStore } from '../cache/policy-store.ts';
import { type PackedDecoder, PREFILL_TOKENS } from './packed-decoder.ts';

/**
 * Where the cache's policy decides on a text that has been read, reads the text again behind its whole cache, in parts that the model has
 * positions for, and lets the policy decide by the attention that its tokens get from that (KVzip, arXiv 2505.23416). `pause` is awaited
 * between parts.
 *
 * @throws KvlrError 'unsupported-feature' where the text leaves no position for that.
 */
export async function readAgain(
  decoder: PackedDecoder,
  cache: KeyValueCache,
  pause: () => Promise<void>,
): Promise<void> {
  const store = cache.coded;
  if (!(store instanceof PolicyStore) || !store.readsAgain) return;
  const { maxPositionEmbeddings } = decoder.shape;
  const room = Math.min(PREFILL_TOKENS, maxPositionEmbeddings - cache.length);
  if (room < 1) {
    throw new KvlrError('unsupported-feature', {
      message: `expected a text shorter than the ${maxPositionEmbeddings} positions of the model for a cache that reads it again, got ${cache.length} tokens.`,
      hint: 'Shorten the text, or take another policy, such as snapkv.',
      where: { argument: 'coded' },
    });
  }
  const onDevice = cache.onDevice as DevicePolicy | undefined;
  await onDevice?.settle(true);
  let greatest: Float32Array[][][] | undefined;
  for (let start = 0; start < cache.length; start += room) {
    await pause();
    const again = cache.tokenIds.map((ids) => {
      const part = ids.slice(start, start + room);
      return part.length > 0 ? part : ids.slice(-1);
    });
    const copy = cache.fork(true);
    try {
      const reading = copy.coded as PolicyStore;
      reading.watch();
      (await decoder.extend(copy, again, pause)).dispose();
      await (copy.onDevice as DevicePolicy | undefined)?.settle(true);
      const noted = reading.watched();
      greatest = greatest === undefined ? noted : greaterOf(greatest, noted);
    } finally {
      copy.dispose();
    }
  }
  if (greatest !== undefined) store.settle(greatest);
  onDevice?.upload();
}

function greaterOf(one: Float32Array[][][], other: Float32Array[][][]): Float32Array[][][] {
  return one.map((sequence, b) =>
    sequence.map((layer, l) =>
      layer.map((slot, s) => slot.map((attention, token) => Math.max(attention, other[b]![l]![s]![token]!))),
    ),
  );
}
