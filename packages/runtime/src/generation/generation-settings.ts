import { type DecoderShape, KvlrError } from '@kvlr/core';
import { KeyValueCache } from '../cache/key-value-cache.ts';

/** How the next token is chosen. */
export interface SamplingSettings {
  /** Logits are divided by it. 0 takes the most probable token. Default 0. */
  temperature?: number;
  /** Only the k most probable tokens are sampled from. Default: all. */
  topK?: number;
  /** Only the most probable tokens that together reach this probability are sampled from, in (0, 1]. Default 1. */
  topP?: number;
  /**
   * Above 1 makes tokens of the prompt and of the answer less likely to come again: their logits are divided by it, negative
   * ones multiplied (Keskar et al., CTRL, arXiv 1909.05858, section 4.1). Default 1.
   */
  repetitionPenalty?: number;
}

export interface GenerationSettings extends SamplingSettings {
  maxNewTokens: number;
  /** Seed of the samples: same seed, same tokens. Default 0. */
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
  /**
   * Whether a step is recorded once and run again for every token, where backend and model can: WebGPU, fused kernels alone, no
   * log probabilities. The tokens are the same. Default true.
   */
  recorded?: boolean;
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

/** Throws 'invalid-argument' for settings out of range. */
export function checkGenerationSettings(settings: GenerationSettings): void {
  if (typeof settings !== 'object' || settings === null) {
    throw new KvlrError('invalid-argument', {
      message: `expected an object, got ${settings === null ? 'null' : typeof settings}.`,
      hint: 'Give at least maxNewTokens: { maxNewTokens: 100 }.',
      where: { argument: 'settings' },
    });
  }
  const {
    maxNewTokens,
    temperature = 0,
    topK = 1,
    topP = 1,
    repetitionPenalty = 1,
    tokensPerReadback = 1,
    seed = 0,
  } = settings;
  const isPositive = (value: number) => Number.isFinite(value) && value > 0;
  const wholeFrom = (least: number, value: number) => Number.isInteger(value) && value >= least;
  const expectations: [name: string, holds: boolean, expected: string, received: number][] = [
    ['maxNewTokens', wholeFrom(0, maxNewTokens), 'a whole number from 0', maxNewTokens],
    ['temperature', temperature >= 0 && Number.isFinite(temperature), 'a finite number from 0', temperature],
    ['topK', wholeFrom(1, topK), 'a whole number from 1', topK],
    ['topP', topP > 0 && topP <= 1, 'a number above 0, at most 1', topP],
    ['repetitionPenalty', isPositive(repetitionPenalty), 'a finite number above 0', repetitionPenalty],
    ['seed', Number.isFinite(seed), 'a finite number', seed],
    ['tokensPerReadback', wholeFrom(1, tokensPerReadback), 'a whole number from 1', tokensPerReadback],
  ];
  for (const [name, holds, expected, received] of expectations) {
    if (holds) continue;
    throw new KvlrError('invalid-argument', {
      message: `expected ${expected}, got ${received}.`,
      where: { argument: name },
      data: { [name]: received },
    });
  }
  const { stopIds = [], signal } = settings;
  if (!Array.isArray(stopIds) || !stopIds.every(Number.isInteger))
    throw wrong('stopIds', 'a list of token ids', stopIds);
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw wrong('signal', 'an AbortSignal', signal);
  if (settings.cache !== undefined && !(settings.cache instanceof KeyValueCache)) {
    throw wrong('cache', "a cache of the model's createCache", settings.cache);
  }
  if (settings.cache !== undefined && settings.cache.batch !== 1) {
    throw new KvlrError('invalid-argument', {
      message: `expected a cache of one sequence, got ${settings.cache.batch}.`,
      where: { argument: 'cache' },
      data: { batch: settings.cache.batch },
    });
  }
}

function wrong(argument: string, expected: string, received: unknown): KvlrError {
  return new KvlrError('invalid-argument', {
    message: `expected ${expected}, got ${received === null ? 'null' : typeof received}.`,
    where: { argument },
  });
}

/** Tokens that a repetition penalty can look back on: beyond every text, and 4 MB at most. */
const maxHistory = 1 << 20;

/** Throws 'invalid-argument' where a penalty would have to look back further than memory is taken for. */
export function checkHistory(
  promptTokens: number,
  newTokens: number,
  { repetitionPenalty = 1 }: SamplingSettings,
): void {
  if (repetitionPenalty === 1 || promptTokens + newTokens <= maxHistory) return;
  throw new KvlrError('invalid-argument', {
    message: `expected at most ${maxHistory} tokens with a repetition penalty, got ${promptTokens + newTokens}.`,
    hint: 'Ask for fewer new tokens.',
    where: { argument: 'maxNewTokens' },
    data: { maxHistory, promptTokens, newTokens },
  });
}

/** Throws 'invalid-argument' for a prompt beyond the model's last position, unless a window lets it run on. */
export function checkPromptLength({ maxPositionEmbeddings }: DecoderShape, promptTokens: number, window: number): void {
  if (window > 0 || !(promptTokens > maxPositionEmbeddings)) return;
  throw new KvlrError('invalid-argument', {
    message: `expected a prompt of at most ${maxPositionEmbeddings} tokens, got ${promptTokens}.`,
    hint: 'Shorten the prompt, for the model knows no positions beyond, or give the cache a window.',
    data: { maxPositionEmbeddings, promptTokens },
  });
}
