import { type CacheFormat, writeInPlace } from '@kvlr/kernels';
import type { Tensor3D } from '@tensorflow/tfjs-core';
import { randomEntries } from './random-entries.ts';

/** Entries that are drawn; longer caches repeat them. */
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
