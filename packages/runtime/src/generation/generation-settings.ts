/** How the next token is chosen. */
export interface SamplingSettings {
  /** Logits are divided by it. 0 takes the most probable token. Default 0. */
  temperature?: number;
  /** Only the k most probable tokens are drawn from. Default: all. */
  topK?: number;
  /** Only the most probable tokens that together reach this probability are drawn from, in (0, 1]. Default 1. */
  topP?: number;
}

export interface GenerationSettings extends SamplingSettings {
  maxNewTokens: number;
  /** Seed of the draws: same seed, same tokens. Default 0. */
  seed?: number;
  /** Generation ends when one of these is chosen; that token is not handed out. */
  stopIds?: readonly number[];
  signal?: AbortSignal;
}

export interface GeneratedToken {
  tokenId: number;
  /** Place among the new tokens, from 0. */
  index: number;
  /** From the previous token, or from the start for the first, which includes the prompt. */
  milliseconds: number;
  /** Tokens held in the cache when this one was chosen. */
  cachedTokens: number;
  /** Bytes of the cache in use then: cachedTokens times the bytes per token. */
  cacheBytes: number;
}
