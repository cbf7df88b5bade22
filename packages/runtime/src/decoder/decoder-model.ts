import type { ActivationSource, DecoderShape, LogitSource, TensorSink, WindowReader } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import type { BackendChoice } from '../backends/select-backend.ts';
import type { CacheSettings } from '../cache/cache-settings.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import type { GeneratedToken, GenerationSettings } from '../generation/generation-settings.ts';
import type { RecordedDecoding, RecordedSampling } from '../packed/recorded-decoding.ts';

/** New tokens of one sequence, or of each sequence of a batch. */
export type NewTokens = ArrayLike<number> | readonly ArrayLike<number>[];

/** A decoder that is loaded on a backend. Its methods are to be called one after another, not side by side. */
export interface DecoderModel extends ActivationSource, LogitSource {
  readonly shape: DecoderShape;
  readonly vocabSize: number;
  /** Content hash of the model's source. */
  readonly id: string;
  readonly backend: BackendChoice;
  /** How the weights of generation are packed. */
  readonly weightFormat: WeightFormat;
  /** An empty cache, of fixed capacity where a number is given. What is not set is as `loadModel` was told. The caller disposes it. */
  createCache(settings?: number | CacheSettings): Promise<KeyValueCache>;
  /**
   * Runs new tokens behind those in the cache and adds them to it. Returns the logits after the last one of each sequence,
   * [batch * vocabSize]. In a batch every sequence gets its own list, of any length from 1.
   */
  extend(cache: KeyValueCache, tokenIds: NewTokens): Promise<Float32Array>;
  /**
   * Runs new tokens behind those in a cache of one sequence and adds them to it. Returns the logits after each of them, [tokens *
   * vocabSize]: what a text's continuation is scored by, for any dtype and window of the cache.
   */
  logitsBehind(cache: KeyValueCache, tokenIds: ArrayLike<number>): Promise<Float32Array>;
  /**
   * Logits of windows whose attention reads keys and values as a coded cache gives them back. Throws 'unsupported-feature' for a model
   * that was loaded with packed weights.
   */
  readThrough(reader: WindowReader): LogitSource;
  /** Continues a prompt, one token at a time. */
  generate(promptIds: ArrayLike<number>, settings: GenerationSettings): AsyncIterableIterator<GeneratedToken>;
  /**
   * Steps behind a cache of any batch that the device runs by itself, lot by lot, for measurements and servers; undefined where
   * the backend or the model cannot record them. Lots have `lotTokens` tokens of every sequence at most. The caller disposes it.
   */
  recordSteps(
    cache: KeyValueCache,
    sampling: RecordedSampling,
    lotTokens: number,
  ): Promise<RecordedDecoding | undefined>;
  /** What a cache holds, as bytes. `loadCache` of the same model brings it back, on any backend. */
  saveCache(cache: KeyValueCache): Promise<Uint8Array>;
  /** Throws 'file-malformed', 'file-truncated' or 'cache-mismatch'. */
  loadCache(bytes: Uint8Array): Promise<KeyValueCache>;
  /**
   * Writes the weights as they are packed (`weightFormat`), for `loadModel(source, { weights, packed })` to load without computing
   * them again. Finishes the sink, or aborts it on an error.
   */
  savePacked(sink: TensorSink): Promise<void>;
  /** Frees the device memory. The model cannot be used afterwards. */
  dispose(): void;
}
