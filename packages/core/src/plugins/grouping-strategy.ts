import type { AttentionWeights } from '../artefacts/compressed-layer.ts';
import type { LayerStatistics } from '../artefacts/statistics.ts';
import type { PositionShape } from '../model/decoder-shape.ts';

/**
 * Cost of letting some KV heads share one, >= 0 and the smaller the better. Does not depend on the order of the heads. The
 * cost of a partition is the sum over its groups.
 */
export type GroupCost = (heads: readonly number[]) => number;

/** What a grouping strategy is told about one layer. */
export interface GroupingRequest {
  layer: number;
  /** Second moments of the layer; undefined when the recipe calibrates on no text. */
  statistics?: LayerStatistics | undefined;
  /** KV heads of the source. */
  numKeyValueHeads: number;
  /** KV heads wanted. Divides `numKeyValueHeads`. */
  wanted: number;
  /** Width of the wanted heads in widths of the source's. Default 1. */
  headWidth?: number | undefined;
  headDim: number;
  numAttentionHeads: number;
  /** How the layer knows positions, which decides what its keys may share. Left out: RoPE over whole heads. */
  positions?: PositionShape | undefined;
  /** Cost of letting these heads share one: share of the layer's energy that is lost, >= 0. Present with statistics. */
  cost?: GroupCost | undefined;
  /** The layer's attention weights, for strategies that read them. */
  weights?: AttentionWeights | undefined;
  /**
   * Measured error of the block's output when only these heads share one. Expensive (a pass over text), so ask sparingly.
   * Must not depend on the order of the heads.
   */
  measuredCost?: ((heads: readonly number[]) => number | Promise<number>) | undefined;
  /** Ends a search early; the strategy then answers with the best groups it has. */
  signal?: AbortSignal | undefined;
}

/**
 * Port: decides which KV heads share one head. Returns `wanted` lists of `numKeyValueHeads / wanted` head indices each, every
 * head once.
 */
export type GroupingStrategy = (request: GroupingRequest) => number[][] | Promise<number[][]>;

/** A cost, and an estimate of it that is quick enough for searching among many heads. */
export interface RankedCost {
  exact: GroupCost;
  estimate: GroupCost;
  /** Multiplications of the exact cost of a group of so many heads: it is asked for all groups where that is affordable. */
  work(size: number): number;
}

/** Port: what letting the heads of a layer share costs, prepared once per request. The search knows no more of it. */
export type CostPort = (request: GroupingRequest) => GroupCost | RankedCost;

/** A cost that a grouping can be named after. */
export interface NamedCost {
  /** One line for help texts: the groups that it likes. */
  description: string;
  /** True when it reads the request's statistics, and so asks for calibration. */
  needsStatistics: boolean;
  /** True when it reads the request's weights. */
  needsWeights: boolean;
  costOf: CostPort;
}
