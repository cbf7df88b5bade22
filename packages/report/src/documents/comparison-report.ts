import type { EvaluationResult, LayerBudget, Measurement, WindowScores } from '@kvlr/core';
import type { ReportedModel, RunEnvironment } from './compression-report.ts';

/**
 * What the cache of a model holds, in a word or two. 'stock': ordinary grouped-query attention, which any engine loads. All
 * others run in kvlr's runtime. 'per-layer heads': the same, but another number of KV heads in each layer. 'latent keys':
 * keys encoded after RoPE. 'rebuilt keys': keys encoded before RoPE, which are rebuilt and rotated at every step. 'narrow
 * values': ordinary keys; every head keeps a value of its own, of fewer numbers.
 */
export type LayoutKind = 'stock' | 'per-layer heads' | 'latent keys' | 'rebuilt keys' | 'narrow values';

/** One method at one ratio. */
export interface ComparisonRow {
  /** Name of the method as the command line takes it. */
  method: string;
  /** Name for people. */
  title: string;
  /** 'stock': an ordinary grouped-query checkpoint that any engine loads. Others: kvlr's runtime only. */
  layout: LayoutKind;
  /** Share of the source's KV heads (or of its cache) that is kept, 0..1. */
  ratio: number;
  /** KV heads per layer of the result, or for latent layouts the head count of equal size. */
  keyValueHeads: number;
  /** Their width in widths of the source's heads, where it is another. */
  headWidth?: number;
  perplexity: Measurement;
  /** Mean KL(base || model) per token, nats. */
  klDivergence: Measurement;
  /** Share of positions at which both models put the same token first, 0..1. */
  topOneAgreement: Measurement;
  bytesPerToken: number;
  /** Numbers in the weights of the result; the model's own count is `ReportedModel.parameters`. */
  parameters?: number;
  /** Time to compress, all runs together; absent when a part of it was made by a run that kept no record. */
  seconds?: number | undefined;
  /** Scores of each window. All rows of a report are evaluated on the same windows, in the same order. */
  windows?: WindowScores;
  /**
   * Key and value energy that the groups lose, each as a share of the layer's total, 0..2 together, averaged over layers.
   * Present where groupings are compared.
   */
  lostEnergy?: number;
  /**
   * Squared error at the output of the attention block when all groups of a layer are merged by the method, before any
   * reconstruction, as a share of the output's square, averaged over layers. Present where groupings are compared.
   */
  measuredError?: number;
  /** What each layer's cache keeps, in KV heads or in numbers per token. Present where budgets are compared. */
  budget?: { unit: 'heads' | 'ranks'; layers: LayerBudget[] };
  /** A figure to hold the perplexity against, and where it comes from. */
  reference?: { perplexity: number; source: string };
}

/** Perplexity of one row over that of another, paired over windows. */
export interface PairedDifference {
  /** `method` of the row it is held against. */
  to: string;
  perplexityRatio: Measurement;
  /** True below two standard errors: the order of the two is not established. Undefined where no error is known. */
  withinNoise?: boolean;
}

/** One row in the order of a ratio. */
export interface RankedMethod {
  method: string;
  /** Against the row one place better, and against the best; absent for the best. */
  toNext?: PairedDifference;
  toBest?: PairedDifference;
  /** Where groupings or budgets are compared: against contiguous groups or the uniform budget, with the same recovery. */
  toUsual?: PairedDifference;
}

/** The rows of one ratio by perplexity, the best first. */
export interface MethodOrder {
  ratio: number;
  ranks: RankedMethod[];
}

/** Every method at every ratio on one model: plain data, ready for JSON. */
export interface ComparisonReport {
  title: string;
  model: ReportedModel;
  base: EvaluationResult;
  /** In the order in which methods are shown; rows of one method need not be adjacent. */
  rows: ComparisonRow[];
  /** For each ratio the order of its rows, with the paired differences between them. */
  orders?: MethodOrder[];
  /** Context lengths, tokens, at which the size of the cache is shown. */
  contexts: number[];
  environment?: RunEnvironment;
  notes?: string[];
}
