import { type CacheDtype, cacheBytes, cacheDtypes, type DecoderShape, KvlrError } from '@kvlr/core';
import { type CacheFormat, type CacheWindow, copyEntries, createCacheFormat, entriesOfLength } from '@kvlr/kernels';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, type Tensor3D, tensor, tensor2d, tidy, zeros } from '@tensorflow/tfjs-core';

/** How a KV cache is kept. */
export interface CacheSettings {
  /** Default 'f32'. */
  dtype?: CacheDtype;
  /** Tokens for which memory is taken at once, a sequence. Default: none; it grows in pages. Not together with `window`. */
  capacity?: number;
  /** Tokens by which an open-ended cache grows. Default 256. */
  pageTokens?: number;
  /** Sequences side by side, of any lengths. Default 1. */
  batch?: number;
  /** Only so many last tokens are kept, besides the sinks. Default: all. */
  window?: number;
  /** First tokens that are kept for good, with a window: without them attention falls apart (arXiv 2309.17453). Default 4. */
  sinks?: number;
}

export interface ResolvedCacheSettings {
  dtype: CacheDtype;
  batch: number;
  /** Undefined: open-ended. */
  capacity: number | undefined;
  pageTokens: number;
  /** 0: no window. */
  window: number;
  sinks: number;
}

/** Checks settings and fills in defaults. Throws 'invalid-argument'. */
export function resolveCacheSettings(settings: CacheSettings): ResolvedCacheSettings {
  const { dtype = 'f32', capacity, pageTokens = 256, batch = 1, window = 0, sinks = window > 0 ? 4 : 0 } = settings;
  if (!cacheDtypes.includes(dtype)) {
    throw new KvlrError('invalid-argument', {
      message: `expected one of ${cacheDtypes.join(', ')}, got ${String(dtype)}.`,
      where: { argument: 'dtype' },
      data: { dtype },
    });
  }
  const counts: [name: string, value: number, least: number][] = [
    ['pageTokens', pageTokens, 1],
    ['batch', batch, 1],
    ['window', window, 0],
    ['sinks', sinks, 0],
  ];
  if (capacity !== undefined) counts.push(['capacity', capacity, 1]);
  for (const [name, value, least] of counts) {
    if (Number.isSafeInteger(value) && value >= least) continue;
    throw new KvlrError('invalid-argument', {
      message: `expected a whole number from ${least}, got ${value}.`,
      where: { argument: name },
      data: { [name]: value },
    });
  }
  if (window > 0 && capacity !== undefined) {
    throw new KvlrError('invalid-argument', {
      message: `expected a window or a capacity, got window ${window} and capacity ${capacity}.`,
      hint: 'Leave the capacity out: a window with its sinks holds window + sinks tokens.',
      data: { window, capacity },
    });
  }
  return { dtype, batch, capacity: window > 0 ? window + sinks : capacity, pageTokens, window, sinks };
}

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
  private isHeld = false;
  private isDisposed = false;
  private places: number;

  constructor(shape: DecoderShape, settings: CacheSettings = {}) {
    this.shape = shape;
    this.settings = resolveCacheSettings(settings);
    const { batch, dtype, capacity, pageTokens } = this.settings;
    this.tokenIds = Array.from({ length: batch }, () => []);
    this.formats = shape.layers.map(({ cache }) => createCacheFormat(cache, dtype));
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
    const { window, sinks } = this.settings;
    return { window, sinks };
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

  /**
   * Keeps every other call from changing the cache until the returned function is called: two texts in one cache would give the wrong
   * tokens to both. Throws 'invalid-argument' while another call holds it, and for a disposed cache.
   */
  hold(): () => void {
    this.requireUse();
    if (this.isHeld) {
      throw new KvlrError('invalid-argument', {
        message: 'expected a cache that nothing else writes to, got one in the middle of another text.',
        hint: 'Await the other call first, leave its loop, or give it a cache of its own (fork).',
        where: { argument: 'cache' },
      });
    }
    this.isHeld = true;
    return () => {
      this.isHeld = false;
    };
  }

  /** Throws 'invalid-argument' for a disposed cache. */
  requireUse(): void {
    if (!this.isDisposed) return;
    throw new KvlrError('invalid-argument', {
      message: 'expected a cache in use, got a disposed one.',
      where: { argument: 'cache' },
    });
  }

  /** One layer's words, int32 [batch, capacity, entryWords]. Stale after `reserve`. */
  wordsOf(layer: number): CacheTensor['words'] {
    return this.layers[layer]!.words;
  }

  /** Makes room for so many more tokens in every sequence. Throws 'invalid-argument' where the capacity is fixed. */
  reserve(tokens: number): void {
    this.requireUse();
    const { capacity, pageTokens, window } = this.settings;
    const needed = this.length + tokens;
    if (window > 0 || needed <= this.places) return;
    if (capacity !== undefined) {
      throw new KvlrError('invalid-argument', {
        message: `expected at most ${capacity} tokens, got ${needed}.`,
        hint: 'Create the cache with a greater capacity, or without one.',
        where: { argument: 'capacity' },
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
    if (this.isDisposed) return;
    if (!(Number.isInteger(length) && length >= 0 && this.canTruncate(length))) {
      throw new KvlrError('invalid-argument', {
        message: `expected a length from 0, only 0 or the whole once a window has moved, got ${length}.`,
        data: { length, lengths: this.lengths, window: this.settings.window },
      });
    }
    for (const ids of this.tokenIds) ids.length = Math.min(ids.length, length);
  }

  /** A cache of its own with the same contents, to continue the same text in another way. */
  fork(): KeyValueCache {
    this.requireUse();
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
    this.isDisposed = true;
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

/** One layer's words, int32 [batch, capacity, entryWords], zeros at first, with what frees them. */
interface CacheTensor {
  readonly words: Tensor3D;
  dispose(): void;
}

/**
 * Allocates the words of a cache. On WebGPU the buffer is the cache's own: tfjs keeps every buffer that it has made for later
 * tensors of the same size, so that a cache that grows would leave all its former sizes behind.
 */
function allocateCacheTensor(batch: number, capacity: number, entryWords: number): CacheTensor {
  const shape: [number, number, number] = [batch, capacity, entryWords];
  if (getBackend() !== 'webgpu') {
    const words = zeros(shape, 'int32') as Tensor3D;
    return { words, dispose: () => words.dispose() };
  }
  const gpu = backend() as WebGPUBackend;
  const buffer = gpu.device.createBuffer({
    label: 'kvlr cache',
    size: 4 * batch * capacity * entryWords,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  const words = tensor({ buffer, zeroCopy: true }, shape, 'int32') as Tensor3D;
  return {
    words,
    dispose() {
      words.dispose();
      // Recorded dispatches may still read it.
      gpu.ensureCommandEncoderReady();
      gpu.endComputePassEncoder();
      gpu.submitQueue();
      buffer.destroy();
    },
  };
}
