import { type CacheDtype, cacheBytes, type DecoderShape, KvlrError } from '@kvlr/core';
import { type CacheFormat, type CacheWindow, copyEntries, createCacheFormat, entriesOfLength } from '@kvlr/kernels';
import { tensor2d, tidy } from '@tensorflow/tfjs-core';
import { type CacheSettings, type ResolvedCacheSettings, resolveCacheSettings } from './cache-settings.ts';
import { allocateCacheTensor, type CacheTensor } from './cache-tensor.ts';

/**
 * The keys and values of one or more sequences, allocated once and filled in place, or grown in pages. Every cache layout of
 * core's `LayerCacheLayout`. Made by a model's `createCache`; belongs to that model and its backend. The caller disposes it.
 */
export class KeyValueCache {
  readonly shape: DecoderShape;
  readonly settings: ResolvedCacheSettings;
  readonly formats: readonly CacheFormat[];
  /** Tokens that went through each sequence, as ids, -1 while an id is known to the device alone. */
  readonly tokenIds: number[][];
  private layers: CacheTensor[];
  private places: number;

  constructor(shape: DecoderShape, settings: CacheSettings = {}) {
    this.shape = shape;
    this.settings = resolveCacheSettings(settings);
    const { batch, dtype, capacity, pageTokens, window } = this.settings;
    if ((window > 0 || batch > 1) && shape.layers.some(({ keys }) => keys === 'rebuilt')) {
      throw new KvlrError('unsupported-feature', {
        message: `createCache: expected one sequence without a window for rebuilt keys, got batch ${batch} and window ${window}.`,
        data: { batch, window },
      });
    }
    this.tokenIds = Array.from({ length: batch }, () => []);
    this.formats = shape.layers.map((layout) => createCacheFormat(layout, dtype));
    this.places = capacity ?? pageTokens;
    this.layers = this.allocate();
  }

  get dtype(): CacheDtype {
    return this.settings.dtype;
  }

  get batch(): number {
    return this.settings.batch;
  }

  get window(): CacheWindow {
    return this.settings;
  }

  /** Tokens that one sequence may hold without further memory. */
  get capacity(): number {
    return this.places;
  }

  /** Tokens of the longest sequence: the position of its next one. */
  get length(): number {
    return Math.max(...this.lengths);
  }

  /** Tokens of each sequence. With a window more than are held. */
  get lengths(): number[] {
    return this.tokenIds.map((ids) => ids.length);
  }

  /** Bytes of one token's entry, scales included. */
  get bytesPerToken(): number {
    return cacheBytes(this.shape, { dtype: this.dtype, capacity: 1 });
  }

  /** Bytes of device memory, exactly: core's `cacheBytes` of dtype, capacity and batch. */
  get byteLength(): number {
    return cacheBytes(this.shape, { dtype: this.dtype, capacity: this.capacity, batch: this.batch });
  }

  /** Bytes of the entries that are held. */
  get usedBytes(): number {
    const entries = this.lengths.reduce((sum, length) => sum + entriesOfLength(length, this.window), 0);
    return entries * this.bytesPerToken;
  }

  /** One layer's words, int32 [batch, capacity, entryWords]. Stale after `reserve`. */
  wordsOf(layer: number): CacheTensor['words'] {
    return this.layers[layer]!.words;
  }

  /** Makes room for so many more tokens in every sequence. Throws 'invalid-argument' where the capacity is fixed. */
  reserve(tokens: number): void {
    const { capacity, pageTokens, window } = this.settings;
    const needed = this.length + tokens;
    if (window > 0 || needed <= this.places) return;
    if (capacity !== undefined) {
      throw new KvlrError('invalid-argument', {
        message: `KeyValueCache: expected at most ${capacity} tokens, got ${needed}.`,
        hint: 'Create the cache with a greater capacity, or without one.',
        data: { capacity, length: this.length, tokens },
      });
    }
    const before = this.layers;
    this.places = Math.ceil(needed / pageTokens) * pageTokens;
    this.layers = this.allocate();
    this.copyFrom(before);
  }

  /** Whether every sequence can be cut to this length: not in part, once a window has moved. */
  canTruncate(length: number): boolean {
    const { window, sinks } = this.settings;
    return this.lengths.every((held) => length === 0 || length >= held || window === 0 || held <= window + sinks);
  }

  /** Forgets all tokens from `length` on, in every sequence that is longer. Throws 'invalid-argument' where that is impossible. */
  truncate(length: number): void {
    if (!(Number.isInteger(length) && length >= 0 && this.canTruncate(length))) {
      throw new KvlrError('invalid-argument', {
        message: `truncate: expected a length from 0, only 0 or the whole once a window has moved, got ${length}.`,
        data: { length, lengths: this.lengths, window: this.settings.window },
      });
    }
    for (const ids of this.tokenIds) ids.length = Math.min(ids.length, length);
  }

  /** A cache of its own with the same contents, to continue the same text in another way. */
  fork(): KeyValueCache {
    const copy = new KeyValueCache(this.shape, this.forkSettings());
    copy.reserve(this.places);
    copy.tokenIds.splice(0, this.batch, ...this.tokenIds.map((ids) => [...ids]));
    copy.copyFrom(this.layers, false);
    return copy;
  }

  /** Counts new tokens as held, once every layer has appended them. */
  advance(added: readonly (readonly number[])[]): void {
    added.forEach((ids, sequence) => {
      this.tokenIds[sequence]!.push(...ids);
    });
  }

  dispose(): void {
    for (const layer of this.layers) layer.dispose();
    this.layers = [];
  }

  private forkSettings(): CacheSettings {
    const { dtype, batch, capacity, pageTokens, window, sinks } = this.settings;
    return { dtype, batch, pageTokens, window, sinks, ...(window === 0 && capacity !== undefined && { capacity }) };
  }

  private allocate(): CacheTensor[] {
    return this.formats.map(({ entryWords }) => allocateCacheTensor(this.batch, this.places, entryWords));
  }

  /** Takes over the entries of other tensors, place by place; frees them unless they are to stay. */
  private copyFrom(others: CacheTensor[], free = true): void {
    const counts = this.lengths.map((length) => entriesOfLength(length, this.window));
    const longest = Math.max(...counts);
    tidy(() => {
      const runs = tensor2d(
        counts.flatMap((count) => [count, 0, 0]),
        [this.batch, 3],
        'int32',
      );
      others.forEach(({ words }, layer) => {
        const inputs = { source: words, target: this.wordsOf(layer), runs };
        copyEntries(inputs, { longest, window: 0, sinks: 0, ringSide: 'none' });
      });
    });
    if (free) for (const other of others) other.dispose();
  }
}
