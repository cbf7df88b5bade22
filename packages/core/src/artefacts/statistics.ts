/**
 * Second moments of one layer's attention over the calibration tokens, Float64, row-major, uncentred: E[u u^T].
 * H query heads, K KV heads, head width D, hidden width d. Keys and queries are taken before and after RoPE.
 */
export interface LayerStatistics {
  layer: number;
  tokenCount: number;
  /** E[x x^T] of the normed block input, [d, d], and E[x], [d]. */
  inputSecondMoment: Float64Array;
  inputMean: Float64Array;
  /** Keys before RoPE, [K*D, K*D] and [K*D]. */
  keySecondMoment: Float64Array;
  keyMean: Float64Array;
  /** Keys after RoPE. */
  rotatedKeySecondMoment: Float64Array;
  rotatedKeyMean: Float64Array;
  valueSecondMoment: Float64Array;
  valueMean: Float64Array;
  /** E[r v v^T], r the attention that the position of v gets, mean over query heads, 1 on average. */
  receivedValueSecondMoment: Float64Array;
  /** Queries per query head, before and after RoPE, [H, D, D]. */
  querySecondMoment: Float64Array;
  rotatedQuerySecondMoment: Float64Array;
  /** Attended values of all heads side by side, [H*D, H*D] and [H*D]. */
  attendedSecondMoment: Float64Array;
  attendedMean: Float64Array;
}

/** Where a set of statistics came from. */
export interface StatisticsProvenance {
  modelId: string;
  textHash: string;
  tokenCount: number;
  windowLength: number;
  seed: number;
  /** The runs that were merged, when there is more than one. */
  runs?: StatisticsProvenance[];
}

export interface CalibrationStatistics {
  provenance: StatisticsProvenance;
  layers: LayerStatistics[];
}
