import type { AttentionWeights } from '../artefacts/compressed-layer.ts';
import type { LayerStatistics } from '../artefacts/statistics.ts';

/** What a grouping strategy is told about one layer. */
export interface GroupingRequest {
  layer: number;
  /** Second moments of the layer; undefined when the recipe calibrates on no text. */
  statistics: LayerStatistics | undefined;
  /** KV heads of the source. */
  heads: number;
  /** KV heads wanted. Divides `heads`. */
  groups: number;
  headDim: number;
  numAttentionHeads: number;
  /** Cost of letting these heads share one: share of the layer's energy that is lost, >= 0. Present with statistics. */
  cost: ((heads: readonly number[]) => number) | undefined;
  /** The layer's attention weights, for strategies that read them. */
  weights?: AttentionWeights | undefined;
  /**
   * Measured error of the block's output when only these heads share one. Dear (a pass over text), so ask sparingly.
   * Must not depend on the order of the heads.
   */
  measuredCost?: ((heads: readonly number[]) => number | Promise<number>) | undefined;
  /** Ends a search early; the strategy then answers with the best groups it has. */
  signal?: AbortSignal | undefined;
}

/**
 * Decides which KV heads share one head. Returns `groups` lists of `heads / groups` head indices each, every head once.
 */
export type GroupingStrategy = (request: GroupingRequest) => number[][] | Promise<number[][]>;
