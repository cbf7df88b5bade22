/** A measured number with what is needed to weigh it. */
export interface Measurement {
  value: number;
  /** Standard error of the value over windows; undefined for exact numbers. */
  standardError?: number;
  /** Tokens behind the value. */
  tokenCount?: number;
}

/**
 * What one model scored on each window, in the order of the windows: means over the window's tokens, natural logarithms.
 * Two models evaluated on the same windows can be compared window by window, which takes out what is hard for both.
 */
export interface WindowScores {
  /** Source of text of each window. */
  sources: string[];
  negativeLogLikelihoods: number[];
  /** What the base scored, KL(base || model) and the share of equal first choices; present against a base. */
  baseNegativeLogLikelihoods?: number[];
  klDivergences?: number[];
  topOneAgreements?: number[];
}

/** One of several equal parts of a list of windows: the `part`-th of `parts`, from 1. */
export interface PartOfWindows {
  part: number;
  parts: number;
}

/** Judgement of one model on one set of texts. */
export interface EvaluationResult {
  modelId: string;
  tokenCount: number;
  windowCount: number;
  windowLength: number;
  perplexity: Measurement;
  /** Per source of text. */
  perplexityBySource: Record<string, Measurement>;
  /** Against the base model, when one was given. */
  againstBase?: {
    baseModelId: string;
    basePerplexity: Measurement;
    /** Mean KL(base || model) per token, nats. */
    klDivergence: Measurement;
    /** Share of positions at which both put the same token first, 0..1. */
    topOneAgreement: Measurement;
    /** Perplexity ratio model / base, with the standard error of the paired difference over windows. */
    perplexityRatio: Measurement;
  };
  /** Where only a part of the windows was evaluated. */
  part?: PartOfWindows;
  /** Absent in results that were not made by `evaluate`. */
  windows?: WindowScores;
  cache: CacheSize;
}

/** Exact size of a model's KV cache. */
export interface CacheSize {
  bytesPerToken: number;
  bytesPerElement: number;
  elementsPerTokenByLayer: number[];
}
