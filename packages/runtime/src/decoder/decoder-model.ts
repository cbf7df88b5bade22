import type { ActivationSource, LogitSource, ModelShape } from '@kvlr/core';
import type { BackendChoice } from '../backends/backend-choice.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import type { GeneratedToken, GenerationSettings } from '../generation/generation-settings.ts';

/** A decoder that is loaded on a backend. Its methods are to be called one after another, not side by side. */
export interface DecoderModel extends ActivationSource, LogitSource {
  readonly shape: ModelShape;
  readonly vocabSize: number;
  /** Content hash of the model's source. */
  readonly id: string;
  readonly backend: BackendChoice;
  /** An empty cache for `capacity` tokens. The caller disposes it. */
  createCache(capacity: number): Promise<KeyValueCache>;
  /** Runs new tokens behind those in the cache, adds them to it, and returns the logits after the last one, [vocabSize]. */
  extend(cache: KeyValueCache, tokenIds: ArrayLike<number>): Promise<Float32Array>;
  /** Continues a prompt, one token at a time. */
  generate(promptIds: ArrayLike<number>, settings: GenerationSettings): AsyncIterableIterator<GeneratedToken>;
  /** Frees the device memory. The model cannot be used afterwards. */
  dispose(): void;
}
