import { type CompressionMethod, mergeError, readAttentionWeights } from '@kvlr/compression';
import type { CalibrationStatistics, ModelSource } from '@kvlr/core';
import { lostEnergyCosts } from '@kvlr/grouping';
import type { ComparisonRow } from '@kvlr/report';
import type { RecordedInputs } from '../calibration/record-block-inputs.ts';

export interface CostedGroups {
  model: ModelSource;
  statistics: CalibrationStatistics;
  method: CompressionMethod;
  blockInputs: RecordedInputs;
  /** Groups of every layer. */
  groups: readonly number[][][];
}

/**
 * What it costs that heads share as these groups say, averaged over the layers: the energy that closed forms leave out, from
 * statistics, and the error at the output of the attention block with all groups of a layer merged, measured on text.
 */
export async function groupingCosts(
  request: CostedGroups,
): Promise<Pick<ComparisonRow, 'lostEnergy' | 'measuredError'>> {
  const { model, statistics, method, blockInputs } = request;
  const { shape } = model;
  let lostEnergy = 0;
  let measuredError = 0;
  for (const [layer, groups] of request.groups.entries()) {
    const weights = await readAttentionWeights(model, layer);
    const source = { shape, layer, weights, statistics: statistics.layers[layer] };
    const { exact } = lostEnergyCosts({
      ...source,
      heads: shape.numKeyValueHeads,
      groups: groups.length,
      headDim: shape.headDim,
      numAttentionHeads: shape.numAttentionHeads,
      cost: undefined,
    });
    lostEnergy += groups.reduce((sum, group) => sum + exact(group), 0);
    measuredError += mergeError(source, method, await blockInputs(layer))(groups);
  }
  const layers = request.groups.length;
  return { lostEnergy: lostEnergy / layers, measuredError: measuredError / layers };
}
