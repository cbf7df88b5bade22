import type { Measurement } from '@kvlr/core';

/** Heads and a cache that meet a budget. */
export interface PlannedCandidate {
  /** Name of the row of heads, 'base' for the model's own; and for people, '8 heads of 32'. */
  heads: string;
  headsTitle: string;
  cache: string;
  /** Share of the base's bytes at the context. */
  bytes: number;
  /** Logarithm of perplexity over that of the base, as predicted from heads alone and bits alone. */
  predicted: number;
  /** Perplexity over that of the base, where this candidate itself was measured. */
  measured?: Measurement | undefined;
}

/** Which heads and which cache were chosen for an engine and a budget, what was not, and why. */
export interface CachePlan {
  engine: string;
  engineTitle: string;
  /** Tokens of context. */
  context: number;
  /** Share of the base's bytes at the context that the cache may take. */
  budget: number;
  /** Bytes of the base's cache at the context, two a number. */
  baseBytes: number;
  chosen: PlannedCandidate;
  /** All within the budget, the best first; the chosen one among them. */
  candidates: PlannedCandidate[];
  /** In words: how it was decided. */
  reasons: string[];
  /** What to tell the engine; undefined where its own settings do. */
  flags: string | undefined;
  /** Windows that everything was measured on. */
  windowCount: number;
}
