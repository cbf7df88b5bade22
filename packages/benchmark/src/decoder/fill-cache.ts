import { createRandom } from '@kvlr/core';
import type { KeyValueCache } from '@kvlr/runtime';
import { fillWords } from './fill-words.ts';

/**
 * Makes an empty cache hold `length` tokens of every sequence: seeded random ids with seeded random keys and values, so that decoding
 * far into a context can be timed without running a long prompt. Throws 'invalid-argument' where a fixed capacity is too small.
 */
export function fillCache(cache: KeyValueCache, length: number, seed = 0): void {
  cache.reserve(length);
  cache.formats.forEach((format, layer) => {
    fillWords(cache.wordsOf(layer), format, length, seed + layer);
  });
  cache.advance(Array.from({ length: cache.batch }, (_, b) => randomTokenIds(length, cache.shape.vocabSize, seed + b)));
}

/** Seeded random token ids. */
export function randomTokenIds(count: number, vocabSize: number, seed = 0): number[] {
  const uniform = createRandom(seed);
  return Array.from({ length: count }, () => Math.floor(uniform() * vocabSize));
}
