import { readAttentionWeights } from '@kvlr/compression';
import type { CalibrationStatistics, ModelSource } from '@kvlr/core';
import { lostEnergyCosts } from '@kvlr/grouping';

/**
 * What closed forms leave out when heads share as these groups say: key energy and value energy, each as a share of the
 * layer's total, 0 to 2 together, averaged over the layers.
 */
export async function lostEnergy(
  model: ModelSource,
  statistics: CalibrationStatistics,
  groupsByLayer: readonly number[][][],
): Promise<number> {
  const { shape } = model;
  let total = 0;
  for (const [layer, groups] of groupsByLayer.entries()) {
    const { exact } = lostEnergyCosts({
      layer,
      statistics: statistics.layers[layer],
      heads: shape.numKeyValueHeads,
      groups: groups.length,
      headDim: shape.headDim,
      numAttentionHeads: shape.numAttentionHeads,
      cost: undefined,
      weights: await readAttentionWeights(model, layer),
    });
    total += groups.reduce((sum, group) => sum + exact(group), 0);
  }
  return total / groupsByLayer.length;
}
