import type { GeneratedToken, GenerationSettings } from '../generation/generation-settings.ts';

/** How a text is continued: `GenerationSettings`, in terms of text. Same seed, same text. */
export interface TextSettings extends Omit<GenerationSettings, 'maxNewTokens' | 'stopIds'> {
  /** Default 256. */
  maxNewTokens?: number;
  /** Texts that end the answer; they are not handed out, wherever the borders of tokens lie. */
  stop?: string | readonly string[];
}

/** One step of an answer: a token was chosen. The pieces of text, joined, are the answer. */
export interface GeneratedText {
  /** What can be said for certain after this token: whole characters, no part of a stop string. May be empty. */
  text: string;
  tokenId: number;
  /** Natural logarithm of the token's probability as the model sees it, before temperature, limits and penalty. */
  logprob?: number;
  timing: {
    /** From the previous token; for the first one from the start, which includes the prompt. */
    milliseconds: number;
    /** From the start. */
    sinceStart: number;
  };
  /** Tokens and bytes in the cache when this token was chosen. */
  cachedTokens: number;
  cacheBytes: number;
  /**
   * With the last step: the model ended its answer, a stop string came, `maxNewTokens` are reached, or the context is full, which
   * ends at the model's last position or at the cache's fixed capacity.
   */
  finishReason?: 'end' | 'stop' | NonNullable<GeneratedToken['finishReason']>;
}
