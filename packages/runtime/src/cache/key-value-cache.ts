import {
  BLOCK_TOKENS,
  type CacheDtype,
  type CodedCache,
  cacheBytes,
  cacheCapacity,
  codedCacheBytes,
  codedCacheSize,
  type DecoderShape,
  fullBlocks,
  KvlrError,
} from '@kvlr/core';
import { type CacheFormat, type CacheWindow, entriesOfLength } from '@kvlr/kernels';
import { getBackend, type Tensor1D, type Tensor3D, tensor1d } from '@tensorflow/tfjs-core';
import {
  type CacheSettings,
  type CacheStatistics,
  type LayerFormat,
  layerFormats,
  type ResolvedCacheSettings,
  resolveCacheSettings,
} from './cache-settings.ts';
import { allocateCacheTensor, type CachePart, copyPlaces, disposeLayer, type LayerTensors } from './cache-tensors.ts';
import { CodedStore } from './coded-store.ts';
import { DeviceFetching } from './device-fetching.ts';
import { DevicePolicy } from './device-policy.ts';
import { PolicyStore } from './policy-store.ts';

/**
 * The keys and values of one or more sequences, allocated once and filled in place, or grown in pages. Every cache layout of
 * core's `LayerCacheLayout`. Made by a model's `createCache`; belongs to that model and its backend. The caller disposes it.
 */
export class KeyValueCache {
  readonly shape: DecoderShape;
  readonly settings: ResolvedCacheSettings;
  /** Of the entries, and of the blocks, of each layer. */
  readonly formats: readonly LayerFormat[];
  /** Tokens that went through each sequence, as ids, -1 while an id is known to the device alone. */
  readonly tokenIds: number[][];
  /** Blocks of each sequence that are packed. The tokens in them are no entries any more. */
  packedBlocks: number[];
  /** What is held in the codes of a codec, in place of tensors. */
  readonly coded: CodedStore | PolicyStore | undefined;
  /** On WebGPU: the entries of what a policy lets stay, or fetches. */
  readonly onDevice: DevicePolicy | DeviceFetching | undefined;
  private layers: LayerTensors[];
  /** Of formats in fitted bases. */
  private readonly tables: (Tensor1D | undefined)[];
  private isHeld = false;
  private isDisposed = false;
  private places: number;

  constructor(shape: DecoderShape, settings: CacheSettings = {}) {
    this.shape = shape;
    this.settings = resolveCacheSettings(settings);
    const { batch, dtype, capacity, pageTokens, statistics } = this.settings;
    this.tokenIds = Array.from({ length: batch }, () => []);
    this.packedBlocks = Array(batch).fill(0);
    this.formats = layerFormats(shape, dtype, statistics);
    this.places = capacity ?? pageTokens;
    this.coded = this.settings.coded && codedStore(shape, this.settings.coded, batch, statistics);
    this.onDevice =
      this.coded instanceof PolicyStore && getBackend() === 'webgpu' ? onDevice(shape, this.coded) : undefined;
    this.layers = this.allocate();
    this.tables = this.formats.map(({ blocks }) =>
      blocks?.kind === 'adapted' ? tensor1d(blocks.tables, 'int32') : undefined,
    );
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

  /** Bytes of one token, scales included: in a block, where the dtype has blocks; under a policy, of one that stays. */
  get bytesPerToken(): number {
    const { coded } = this.settings;
    if (coded === undefined) return codedCacheSize(this.shape, this.dtype).bytesPerToken;
    return codedCacheBytes(this.shape, { codec: coded.codec, window: 0, first: 0 }, BLOCK_TOKENS) / BLOCK_TOKENS;
  }

  /**
   * Bytes of device memory, exactly: core's `cacheBytes` of these settings, capacity and batch. Of a coded cache the bytes of what is held,
   * on the host: core's `codedCacheBytes`; under a policy on WebGPU those on the device besides, or alone where it fetches values.
   */
  get byteLength(): number {
    if (this.onDevice instanceof DeviceFetching) return this.onDevice.byteLength;
    if (this.coded) return this.coded.byteLength + (this.onDevice?.byteLength ?? 0);
    return cacheBytes(this.shape, { ...this.settings, capacity: this.capacity });
  }

  /**
   * Bytes in host memory that do not count as the cache's: of a policy that leaves values there and fetches some, `shadowkv`; else 0. On wasm and
   * cpu both are memory of the host, and `byteLength` is what a device would hold; on WebGPU the host has a copy of the keys, which counts.
   */
  get hostByteLength(): number {
    if (!(this.coded instanceof PolicyStore)) return 0;
    return this.onDevice instanceof DeviceFetching ? this.coded.storedByteLength : this.coded.hostByteLength;
  }

  /** Bytes of the tokens that are held. */
  get usedBytes(): number {
    if (this.coded) return this.coded.byteLength + (this.onDevice?.pendingBytes ?? 0);
    return this.lengths.reduce((sum, length, b) => sum + this.bytesOf(length, this.packedBlocks[b]!), 0);
  }

  /** Bytes that one sequence of so many tokens takes. */
  bytesOfLength(length: number): number {
    if (this.coded && length === this.length && this.batch === 1) return this.usedBytes;
    if (this.coded) return codedCacheBytes(this.shape, this.coded.cache, length);
    return this.bytesOf(length, fullBlocks(this.settings, length));
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

  /** One layer's tokens one by one, int32 [batch, places, entryWords]. Stale after `reserve`. */
  wordsOf(layer: number): Tensor3D {
    return this.layers[layer]!.entries.words;
  }

  /** One layer's packed blocks, int32 [batch, places, blockWords]; undefined where there is room for none. Stale after `reserve`. */
  blocksOf(layer: number): Tensor3D | undefined {
    return this.layers[layer]!.blocks?.words;
  }

  /** What kernels know of the bases that a layer's blocks are in; undefined for other dtypes. */
  tablesOf(layer: number): Tensor1D | undefined {
    return this.tables[layer];
  }

  /** What one layer holds: words [batch, places, words of a place], and how many places of each sequence are taken. */
  partsOf(layer: number): CachePart[] {
    return this.partsOfTensors(this.layers[layer]!);
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

  /** Whether every sequence can be cut to this length: not in part once a window has moved or tokens are coded, nor within packed blocks. */
  canTruncate(length: number): boolean {
    const { window, sinks, exactFirst } = this.settings;
    return this.lengths.every((held, b) => {
      if (length === 0 || length >= held) return true;
      if (this.coded) return false;
      const packed = this.packedBlocks[b]!;
      if (packed > 0) return length >= exactFirst + BLOCK_TOKENS * packed;
      return window === 0 || held <= window + sinks;
    });
  }

  /** Forgets all tokens from `length` on, in every sequence that is longer. Throws 'invalid-argument' where that is impossible. */
  truncate(length: number): void {
    if (this.isDisposed) return;
    if (!(Number.isInteger(length) && length >= 0 && this.canTruncate(length))) {
      throw new KvlrError('invalid-argument', {
        message: `expected a length from 0, only 0 or the whole once a window has moved, and none within packed blocks, got ${length}.`,
        data: { length, lengths: this.lengths, window: this.settings.window },
      });
    }
    for (const ids of this.tokenIds) ids.length = Math.min(ids.length, length);
    if (length === 0) {
      this.packedBlocks.fill(0);
      this.coded?.clear();
      this.onDevice?.clear();
    }
  }

  /**
   * A cache of its own with the same contents, to continue the same text in another way.
   *
   * @param openEnded Whether it may hold more than this one's capacity. Default: no.
   */
  fork(openEnded = false): KeyValueCache {
    this.requireUse();
    const copy = new KeyValueCache(this.shape, this.forkSettings(openEnded));
    copy.reserve(this.places);
    copy.tokenIds.splice(0, this.batch, ...this.tokenIds.map((ids) => [...ids]));
    copy.packedBlocks = [...this.packedBlocks];
    copy.copyFrom(this.layers, false);
    if (this.coded instanceof CodedStore) (copy.coded as CodedStore).copyFrom(this.coded);
    if (this.coded instanceof PolicyStore) (copy.coded as PolicyStore).copyFrom(this.coded);
    if (this.onDevice instanceof DevicePolicy) (copy.onDevice as DevicePolicy).copyFrom(this.onDevice);
    if (this.onDevice instanceof DeviceFetching) (copy.onDevice as DeviceFetching).copyFrom(this.onDevice);
    return copy;
  }

  /** Blocks of each sequence that are packed once it has so many tokens more. */
  blocksAfter(added: readonly number[]): number[] {
    return this.lengths.map((length, b) =>
      Math.max(this.packedBlocks[b]!, fullBlocks(this.settings, length + added[b]!)),
    );
  }

  /** Lets a policy decide on the device's entries, if it is time. Call behind every `advance`. */
  async settle(): Promise<void> {
    await this.onDevice?.settle();
  }

  /** Counts new tokens as held, once every layer has appended them. */
  advance(added: readonly (readonly number[])[]): void {
    this.packedBlocks = this.blocksAfter(added.map((ids) => ids.length));
    this.onDevice?.advance(added[0]!.length);
    added.forEach((ids, sequence) => {
      const own = this.tokenIds[sequence]!;
      // A call with hundreds of thousands of arguments would overflow the stack.
      for (const id of ids) own.push(id);
    });
  }

  dispose(): void {
    for (const layer of this.layers) disposeLayer(layer);
    this.layers = [];
    for (const tables of this.tables.splice(0)) tables?.dispose();
    this.onDevice?.dispose();
    this.isDisposed = true;
  }

  private entriesOf(length: number, packed: number): number {
    return entriesOfLength(length, this.window) - BLOCK_TOKENS * packed;
  }

  private bytesOf(length: number, packed: number): number {
    const entries = this.entriesOf(length, packed);
    return this.formats.reduce(
      (sum, format) => sum + 4 * (entries * format.entries.entryWords + packed * (format.blocks?.blockWords ?? 0)),
      0,
    );
  }

  private forkSettings(openEnded: boolean): CacheSettings {
    const { capacity, ...settings } = this.settings;
    return { ...settings, ...(!openEnded && settings.window === 0 && capacity !== undefined && { capacity }) };
  }

  private allocate(): LayerTensors[] {
    if (this.coded) return [];
    const { entries, blocks } = cacheCapacity(this.settings, this.places);
    return this.formats.map((format) => ({
      entries: allocateCacheTensor(this.batch, entries, format.entries.entryWords),
      blocks: blocks === 0 ? undefined : allocateCacheTensor(this.batch, blocks, format.blocks!.blockWords),
    }));
  }

  /** Takes over what other tensors hold, place by place; frees them unless they are to stay. */
  private copyFrom(others: readonly LayerTensors[], free = true): void {
    others.forEach((other, layer) => {
      const own = this.partsOf(layer);
      this.partsOfTensors(other).forEach((part, index) => {
        copyPlaces(part, own[index]!.words);
      });
      if (free) disposeLayer(other);
    });
  }

  private partsOfTensors({ entries, blocks }: LayerTensors): CachePart[] {
    const counts = this.lengths.map((length, b) => this.entriesOf(length, this.packedBlocks[b]!));
    return [
      { words: entries.words, counts },
      ...(blocks === undefined ? [] : [{ words: blocks.words, counts: this.packedBlocks }]),
    ];
  }
}

function onDevice(shape: DecoderShape, store: PolicyStore): DevicePolicy | DeviceFetching {
  const formats = policyFormats(shape);
  return store.cache.policy.policy.fetches === undefined
    ? new DevicePolicy(shape, formats, store)
    : new DeviceFetching(shape, formats, store);
}

/** Halves, whatever dtype there would be without a policy. */
function policyFormats(shape: DecoderShape): CacheFormat[] {
  return layerFormats(shape, 'f16', undefined).map(({ entries }) => entries);
}

function codedStore(
  shape: DecoderShape,
  cache: CodedCache,
  batch: number,
  statistics: CacheStatistics | undefined,
): CodedStore | PolicyStore {
  const { policy } = cache;
  return policy === undefined
    ? new CodedStore(shape, cache, batch, statistics)
    : new PolicyStore(shape, { ...cache, policy }, batch);
}
