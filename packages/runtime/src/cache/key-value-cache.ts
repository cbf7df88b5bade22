import { cacheSize, KvlrError, type ModelShape } from '@kvlr/core';
import { zeros } from '@tensorflow/tfjs-core';
import type { CacheEntries } from '../blocks/attention-block.ts';
import { appendRows } from './append-rows.ts';

/**
 * The keys and values of one sequence, float32, for `capacity` tokens, allocated once and filled in place. Works for every
 * cache layout. The caller disposes it.
 */
export class KeyValueCache {
  readonly capacity: number;
  /** Bytes of one token's entry: `cacheSize(shape, 4).bytesPerToken`. */
  readonly bytesPerToken: number;
  private readonly layers: CacheEntries[];
  private filled = 0;

  constructor(shape: ModelShape, capacity: number) {
    this.capacity = capacity;
    this.bytesPerToken = cacheSize(shape, Float32Array.BYTES_PER_ELEMENT).bytesPerToken;
    this.layers = shape.layers.map((layout) => ({
      keys: zeros([1, layout.keySlots, capacity, layout.keySlotWidth]),
      values: zeros([1, layout.valueSlots, capacity, layout.valueSlotWidth]),
    }));
  }

  /** Tokens held. */
  get length(): number {
    return this.filled;
  }

  /** Bytes in use: length * bytesPerToken. */
  get byteLength(): number {
    return this.filled * this.bytesPerToken;
  }

  /** Bytes allocated: capacity * bytesPerToken. */
  get allocatedBytes(): number {
    return this.capacity * this.bytesPerToken;
  }

  /** Throws 'invalid-argument' unless so many more tokens fit. */
  requireRoom(tokens: number): void {
    if (this.filled + tokens <= this.capacity) return;
    throw new KvlrError('invalid-argument', {
      message: `KeyValueCache: expected at most ${this.capacity} tokens, got ${this.filled + tokens}.`,
      remedy: 'Create the cache with a greater capacity.',
      data: { capacity: this.capacity, length: this.filled, tokens },
    });
  }

  /** Writes the entries of new tokens behind those held and returns the layer's whole cache, unused places included. */
  append(layer: number, entries: CacheEntries): CacheEntries {
    const held = this.layers[layer]!;
    appendRows(held.keys, entries.keys, this.filled);
    appendRows(held.values, entries.values, this.filled);
    return held;
  }

  /** Counts tokens as held, once every layer has appended them. */
  advance(tokens: number): void {
    this.filled += tokens;
  }

  dispose(): void {
    for (const { keys, values } of this.layers) {
      keys.dispose();
      values.dispose();
    }
  }
}
