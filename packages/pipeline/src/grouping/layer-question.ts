import { type BlockInputs, type CompressionMethod, type MergeError, mergeError } from '@kvlr/compression';
import type { AttentionWeights, DecoderShape, GroupingRequest, GroupingStrategy, LayerStatistics } from '@kvlr/core';
import { groupHeads, lostEnergyCosts } from '@kvlr/grouping';

/** What a grouping strategy is asked of one layer, in a form that crosses threads. */
export interface LayerQuestion {
  shape: DecoderShape;
  layer: number;
  /** KV heads wanted. */
  keyValueHeads: number;
  weights: AttentionWeights;
  statistics: LayerStatistics | undefined;
}

/** How errors of merges are measured, for strategies that ask for them. */
export interface LayerMeasurement {
  method: string | CompressionMethod;
  inputs: () => Promise<BlockInputs>;
}

export interface AskedStrategy {
  strategy: GroupingStrategy;
  /** Name or path of the strategy, for messages. */
  label: string;
  signal?: AbortSignal | undefined;
}

/** Asks a strategy which KV heads of a layer share one. Throws what `groupHeads` throws. */
export function answerLayerQuestion(
  { strategy, label, signal }: AskedStrategy,
  question: LayerQuestion,
  measurement: LayerMeasurement | undefined,
): Promise<number[][]> {
  const { shape, layer, keyValueHeads, weights, statistics } = question;
  // Prepared when they are first asked for: not every strategy looks at them.
  let cost: ((heads: readonly number[]) => number) | undefined;
  let error: MergeError | undefined;
  const request: GroupingRequest = {
    layer,
    statistics,
    heads: shape.numKeyValueHeads,
    groups: keyValueHeads,
    headDim: shape.headDim,
    numAttentionHeads: shape.numAttentionHeads,
    weights,
    cost: (heads) => {
      cost ??= lostEnergyCosts(request).exact;
      return cost(heads);
    },
    measuredCost:
      measurement &&
      (async (heads) => {
        error ??= mergeError({ shape, layer, weights, statistics }, measurement.method, await measurement.inputs());
        return error([heads]);
      }),
    signal,
  };
  return groupHeads(strategy, request, label);
}
