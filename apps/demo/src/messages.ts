import type { KvlrEvent, Measurement } from '@kvlr/core';
import type { BackendChoice } from '@kvlr/runtime';
import type { DemoSettings } from './settings.ts';

/** The two models that run side by side. */
export type Side = 'original' | 'compressed';

export const sides: readonly Side[] = ['original', 'compressed'];

/** What the page asks of the worker. One piece of work at a time. */
export type PageMessage =
  | { type: 'compress'; settings: DemoSettings }
  | { type: 'generate'; prompt: string; newTokens: number; temperature: number; seed: number }
  | { type: 'stop' };

/** What the worker tells the page. */
export type WorkerMessage =
  | { type: 'download'; loadedBytes: number }
  | { type: 'event'; event: KvlrEvent }
  | { type: 'compressed'; summary: CompressionSummary }
  | { type: 'started'; promptTokens: number; longestContext: number }
  | { type: 'token'; progress: GenerationProgress }
  | { type: 'generated'; sameTokens: number }
  | { type: 'stopped' }
  | { type: 'failed'; failure: Failure };

/** One model's cache and quality. */
export interface ModelFacts {
  numLayers: number;
  keyValueHeads: number;
  headDim: number;
  /** Bytes of a number in the cache. */
  bytesPerElement: number;
  /** Exact size of the cache for one token, all layers together. */
  bytesPerToken: number;
  /** On text that neither statistics nor repair has seen. */
  perplexity: Measurement;
  /** To the original's perplexity, paired over windows; absent for the original itself. */
  perplexityRatio?: Measurement;
}

export interface CompressionSummary {
  models: Record<Side, ModelFacts>;
  /** Predictions behind each perplexity. */
  evaluatedTokens: number;
  /** Share of positions at which both models put the same token first. */
  topOneAgreement: number;
  backend: BackendChoice;
  seconds: number;
}

/** How far one model has come with its text. */
export interface GenerationProgress {
  side: Side;
  /** All new text so far. */
  text: string;
  newTokens: number;
  /** Tokens held in the cache, the prompt included, and the bytes they take. */
  cachedTokens: number;
  cacheBytes: number;
  /** From the median time of a step after the prompt; undefined before there is one. */
  tokensPerSecond: number | undefined;
}

export interface Failure {
  code: string;
  message: string;
  hint: string | undefined;
}
