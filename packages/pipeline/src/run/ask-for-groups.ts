import { type CompressionMethod, type MergeError, mergeError, readAttentionWeights } from '@kvlr/compression';
import {
  type CalibrationStatistics,
  type GroupingRequest,
  type GroupingStrategy,
  type ModelSource,
  throwIfAborted,
} from '@kvlr/core';
import { groupHeads, lostEnergyCosts } from '@kvlr/grouping';
import type { RecordedInputs } from './record-block-inputs.ts';

/** A grouping strategy and what it is asked about. */
export interface GroupingSource {
  model: ModelSource;
  statistics: CalibrationStatistics;
  strategy: GroupingStrategy;
  /** Name or path of the strategy, for messages. */
  label: string;
  /** For strategies that ask for measured errors: the method whose merges are measured, and the text they are measured on. */
  method: CompressionMethod;
  blockInputs: RecordedInputs;
}

/** Which KV heads of one layer share one, when this many are kept. Throws what `groupHeads` throws, and 'aborted'. */
export async function askForGroups(
  source: GroupingSource,
  layer: number,
  keyValueHeads: number,
  signal: AbortSignal | undefined,
): Promise<number[][]> {
  const { shape } = source.model;
  const statistics = source.statistics.layers[layer];
  const weights = await readAttentionWeights(source.model, layer);
  // Prepared when they are first asked for: not every strategy looks at them.
  let cost: ((heads: readonly number[]) => number) | undefined;
  let error: MergeError | undefined;
  const question: GroupingRequest = {
    layer,
    statistics,
    heads: shape.numKeyValueHeads,
    groups: keyValueHeads,
    headDim: shape.headDim,
    numAttentionHeads: shape.numAttentionHeads,
    weights,
    cost: (heads) => {
      cost ??= lostEnergyCosts(question).exact;
      return cost(heads);
    },
    measuredCost: async (heads) => {
      error ??= mergeError({ shape, layer, weights, statistics }, source.method, await source.blockInputs(layer));
      return error([heads]);
    },
    signal,
  };
  const groups = await groupHeads(source.strategy, question, source.label);
  // A search that was ended early gives groups that are not to be kept.
  throwIfAborted(signal);
  return groups;
}
