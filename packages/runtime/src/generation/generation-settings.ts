import type { KeyValueCache } from '../cache/key-value-cache.ts';

/** How the next token is chosen. */
export interface SamplingSettings {
  /** Logits are divided by it. 0 takes the most probable token. Default 0. */
  temperature?: number;
  /** Only the k most probable tokens are drawn from. Default: all. */
  topK?: number;
  /** Only the most probable tokens that together reach this probability are drawn from, in (0, 1]. Default 1. */
  topP?: number;
  /**
   * Above 1 makes tokens of the prompt and of the answer less likely to come again: their logits are divided by it, negative
   * ones multiplied (Keskar et al., CTRL, arXiv 1909.05858, section 4.1). Default 1.
   */
  repetitionPenalty?: number;
}

export interface GenerationSettings extends SamplingSettings {
  maxNewTokens: number;
  /** Seed of the draws: same seed, same tokens. Default 0. */
  seed?: number;
  /** Generation ends when one of these is chosen; that token is not handed out. */
  stopIds?: readonly number[];
  /** Gives each token's log probability. The logits of every token are read back for it. */
  logprobs?: boolean;
  /**
   * A cache of this model to go on with, for one sequence. What it holds of the prompt from the beginning is not run again; the
   * rest of it is forgotten. It stays with the caller and holds the prompt and the new tokens afterwards, but for the last one.
   */
  cache?: KeyValueCache;
  /**
   * New tokens that are chosen on the device before their ids are read together. More hide the way to a GPU and back, but
   * arrive in bursts, and those chosen after a stop id are for nothing. Default 4 on WebGPU, else 1.
   */
  tokensPerReadback?: number;
  signal?: AbortSignal;
}

export interface GeneratedToken {
  tokenId: number;
  /** Natural logarithm of its probability as the model sees it, before temperature, limits and penalty; if asked for. */
  logprob?: number;
  /** Place among the new tokens, from 0. */
  index: number;
  /** From the previous token, or from the start for the first, which includes the prompt. Equal for tokens read together. */
  milliseconds: number;
  /** Tokens of the text before this one, those that a window has dropped included. */
  cachedTokens: number;
  /** Bytes of the cache's entries when this one was chosen. */
  cacheBytes: number;
  /**
   * With the last token that there was room for: `maxNewTokens` are reached, or the context is full, which ends at the model's last
   * position or at the cache's fixed capacity. A text that a stop id ends has none.
   */
  finishReason?: 'length' | 'context-full';
}
