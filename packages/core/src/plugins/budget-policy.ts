import type { AttentionWeights } from '../artefacts/compressed-layer.ts';
import type { LayerStatistics } from '../artefacts/statistics.ts';
import type { DecoderShape } from '../model/decoder-shape.ts';

/** What one layer's cache keeps, in the unit of its request. */
export interface LayerBudget {
  keys: number;
  values: number;
}

/** Where a policy looks for what a count would cost. */
export type BudgetSide = keyof LayerBudget;

/** What a budget policy is told. One request covers the whole model. */
export interface BudgetRequest {
  shape: DecoderShape;
  /**
   * 'heads': counts are KV heads; a layer keeps as many for its keys as for its values (ordinary grouped-query attention).
   * 'ranks': counts are numbers of the cache per token, for keys and for values apart (methods with free ranks).
   */
  unit: 'heads' | 'ranks';
  /** What every layer keeps under the uniform budget. */
  uniform: LayerBudget;
  /** Most that the sum over the layers of keys + values may be: that of the uniform budget. */
  total: number;
  /** Counts that a layer may keep of each, ascending. The last is the source's own count, which loses nothing. */
  candidates: Record<BudgetSide, readonly number[]>;
  /** Second moments of every layer; undefined in a dry run. */
  statistics: readonly LayerStatistics[] | undefined;
  /** The attention weights of a layer. */
  weights(layer: number): Promise<AttentionWeights>;
  /**
   * Share of the energy of a layer's keys or values, 0..1, that is lost when so many are kept. Keys count as the queries see
   * them, values as the output projection does. Present with statistics.
   */
  lostEnergy?: ((layer: number, side: BudgetSide, count: number) => Promise<number>) | undefined;
  /**
   * Mean KL(original || model) per token, nats, on held-out calibration text when only this layer is compressed, to this
   * budget. Expensive (a pass over text), and kept in the run directory. Absent in a dry run.
   */
  measuredLoss?: ((layer: number, budget: LayerBudget) => Promise<number>) | undefined;
  /** For policies that take long: how many of their steps are done. */
  onProgress?: ((completed: number, total: number) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/** One entry per layer; a single number stands for as many keys as values. */
export type BudgetAnswer = readonly (number | LayerBudget)[];

/**
 * Port: decides how much of its cache each layer keeps. Every entry of the answer is one of the candidates, and the sum of
 * keys + values over the layers is at most `total`.
 */
export type BudgetPolicy = (request: BudgetRequest) => BudgetAnswer | Promise<BudgetAnswer>;
