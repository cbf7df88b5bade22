import {
  adaptedBitsOf,
  type CacheDtype,
  type CacheSide,
  createNormalRandom,
  createRandom,
  type DecoderShape,
  type LayerCacheLayout,
  type SideStatistics,
  slotsOfSide,
} from '@kvlr/core';
import { type AdaptedFormat, type BlockFormat, type CacheFormat, writeInPlace } from '@kvlr/kernels';
import type { CacheSettings, CacheStatistics, KeyValueCache } from '@kvlr/runtime';
import type { Tensor3D } from '@tensorflow/tfjs-core';

/**
 * Makes an empty cache hold `length` tokens of every sequence: seeded random ids with seeded random keys and values, so that decoding
 * far into a context can be timed without running a long prompt. Throws 'invalid-argument' where a fixed capacity is too small.
 */
export function fillCache(cache: KeyValueCache, length: number, seed = 0): void {
  cache.reserve(length);
  cache.advance(Array.from({ length: cache.batch }, (_, b) => randomTokenIds(length, cache.shape.vocabSize, seed + b)));
  cache.formats.forEach(({ entries, blocks }, layer) => {
    const [ofEntries, ofBlocks] = cache.partsOf(layer);
    fillWords(ofEntries!.words, entries, ofEntries!.counts[0]!, seed + layer);
    if (ofBlocks) fillBlocks(ofBlocks.words, blocks!, ofBlocks.counts[0]!, seed + layer);
  });
}

const known = new WeakMap<DecoderShape, CacheStatistics>();

/**
 * A cache of this dtype for a model of these sizes. What fitted dtypes are fitted to are numbers that matter less and less: the standard
 * deviation of the last of a head is a tenth of the first one's, and so is its weight.
 */
export function benchmarkedCache(shape: DecoderShape, dtype: CacheDtype): Pick<CacheSettings, 'dtype' | 'statistics'> {
  if (adaptedBitsOf(dtype) === undefined) return { dtype };
  const statistics = known.get(shape) ?? shape.layers.map(({ cache }) => fallingStatistics(cache));
  known.set(shape, statistics);
  return { dtype, statistics };
}

function fallingStatistics(layout: LayerCacheLayout): CacheStatistics[number] {
  const ofSide = (side: CacheSide): SideStatistics => {
    const { slots, width } = slotsOfSide(layout, side);
    const diagonal = Float64Array.from({ length: slots * width * width }, (_, i) => {
      const [row, column] = [Math.floor(i / width) % width, i % width];
      return row === column ? 100 ** (-row / width) : 0;
    });
    return { mean: new Float64Array(slots * width), covariance: diagonal, errorWeight: diagonal };
  };
  return { keys: ofSide('keys'), values: ofSide('values') };
}

/** Fills the first `count` blocks of every sequence with one random block: keys in -1..1, values of order 1. */
function fillBlocks(words: Tensor3D, format: BlockFormat | AdaptedFormat, count: number, seed: number): void {
  const [batch, places, blockWords] = words.shape;
  const uniform = createRandom(seed);
  const block = Int32Array.from({ length: blockWords }, () => uniform() * 2 ** 32);
  if (format.kind === 'channel') setScales(block, format);
  for (let sequence = 0; sequence < batch; sequence++) {
    for (let place = 0; place < count; place++) writeInPlace(words, (sequence * places + place) * blockWords, block);
  }
}

/** Scales of 2 / (2^bits - 1) or a little less, as halves, the least number -1, and gains of 1. */
function setScales(block: Int32Array, { slots, width, bits, slotWords, gains }: BlockFormat): void {
  const scale = { 2: 0x3800, 3: 0x3400, 4: 0x3000 }[bits];
  for (let slot = 0; slot < slots; slot++) {
    block.fill(scale | (0xbc00 << 16), slot * slotWords, slot * slotWords + width);
    block.fill(0x3c003c00, slot * slotWords + gains, slot * slotWords + gains + 16);
  }
}

/** Seeded random token ids. */
export function randomTokenIds(count: number, vocabSize: number, seed = 0): number[] {
  const uniform = createRandom(seed);
  return Array.from({ length: count }, () => Math.floor(uniform() * vocabSize));
}

/** Random entries that are made; longer caches repeat them. */
const BLOCK_ENTRIES = 128;

/** Fills the first `entries` places of every sequence in one layer's words, [batch, capacity, entryWords], with random entries. */
export function fillWords(words: Tensor3D, format: CacheFormat, entries: number, seed: number): void {
  const [batch, capacity, entryWords] = words.shape;
  const block = randomEntries(format, Math.min(BLOCK_ENTRIES, entries), seed);
  for (let sequence = 0; sequence < batch; sequence++) {
    for (let entry = 0; entry < entries; entry += BLOCK_ENTRIES) {
      const count = Math.min(BLOCK_ENTRIES, entries - entry);
      writeInPlace(words, (sequence * capacity + entry) * entryWords, block.subarray(0, count * entryWords));
    }
  }
}

/** Scale and offset of quantised slots as halves, so that their numbers lie in about -1..1: 2^-7 or 2^-3, and -1. */
const headers = { int8: 0x2000 | (0xbc00 << 16), int4: 0x3000 | (0xbc00 << 16) };

/** Seeded random cache entries as the words that a cache of this format holds, [entries * entryWords]; numbers of order 1. */
function randomEntries(format: CacheFormat, entries: number, seed: number): Int32Array {
  const words = new Int32Array(entries * format.entryWords);
  const uniform = createRandom(seed);
  const { dtype } = format;
  switch (dtype) {
    case 'f32': {
      const normal = createNormalRandom(seed);
      const floats = new Float32Array(words.buffer);
      for (let i = 0; i < floats.length; i++) floats[i] = normal();
      return words;
    }
    case 'f16':
      for (let i = 0; i < words.length; i++) words[i] = randomHalf(uniform) | (randomHalf(uniform) << 16);
      return words;
    case 'fp8':
      // Between 1/8 and 2 of either sign.
      for (let i = 0; i < words.length; i++) {
        for (let k = 0; k < 4; k++)
          words[i]! |= ((uniform() < 0.5 ? 0x80 : 0) | Math.floor(0x20 + 32 * uniform())) << (8 * k);
      }
      return words;
    case 'int8':
    case 'int4':
      for (let i = 0; i < words.length; i++) words[i] = uniform() * 2 ** 32;
      for (const start of slotStarts(format, entries)) words[start] = headers[dtype];
      return words;
  }
}

/** A half between 1/8 and 2 of either sign. */
function randomHalf(uniform: () => number): number {
  const sign = uniform() < 0.5 ? 0x8000 : 0;
  const exponent = 12 + Math.floor(uniform() * 4);
  return sign | (exponent << 10) | Math.floor(uniform() * 1024);
}

/** The first word of every slot. */
function* slotStarts(format: CacheFormat, entries: number): Generator<number> {
  const { layout, keySlotWords, valueSlotWords, entryWords } = format;
  for (let entry = 0; entry < entries; entry++) {
    const start = entry * entryWords;
    for (let slot = 0; slot < layout.keySlots; slot++) yield start + slot * keySlotWords;
    const values = start + layout.keySlots * keySlotWords;
    for (let slot = 0; slot < layout.valueSlots; slot++) yield values + slot * valueSlotWords;
  }
}
