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
  /** Gives each token's log probability. */
  logprobs?: boolean;
  signal?: AbortSignal;
}

export interface GeneratedToken {
  tokenId: number;
  /** Natural logarithm of its probability as the model sees it, before temperature, limits and penalty; if asked for. */
  logprob?: number;
  /** Place among the new tokens, from 0. */
  index: number;
  /** From the previous token, or from the start for the first, which includes the prompt. */
  milliseconds: number;
  /** Tokens held in the cache when this one was chosen. */
  cachedTokens: number;
  /** Bytes of the cache in use then: cachedTokens times the bytes per token. */
  cacheBytes: number;
}
