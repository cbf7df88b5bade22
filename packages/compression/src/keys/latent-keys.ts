import { createMatrix, selectTiles, transpose } from '@kvlr/linalg';
import { subspaceFactors } from '../factors/subspace-factors.ts';
import { decoderLookup } from '../fold/decoder-lookup.ts';
import { permuteQuery } from '../fold/permute-query.ts';
import { centredMoment } from '../moments/centred-moment.ts';
import { queryMetric } from '../moments/query-metric.ts';
import { requireStatistics } from '../moments/require-statistics.ts';
import type { RopeStrategy } from '../ports.ts';
import { queryOrderOf, separateHeads } from '../query-heads.ts';

export interface LatentKeySettings {
  /**
   * 'layer': one basis of rank G*D over all heads, read whole by every head (arXiv 2406.07056, section 3.3).
   * 'group': one basis of rank D per group; a score costs what it costs in grouped-query attention.
   * 'head': one basis of rank D*G/K per head, as methods that leave heads apart do (arXiv 2512.05916).
   */
  basis: 'layer' | 'group' | 'head';
  /** 'identity' counts errors of the rotated keys; 'query' counts them as the logits see them. */
  metric: 'identity' | 'query';
  /** Leave out the keys' mean over positions, which softmax ignores. */
  centred?: boolean;
}

/**
 * Latent layout: rotated keys are projected onto the leading directions of their second moment, and rotated queries with
 * them. The projection stands after RoPE, so it cannot be folded into the weights: only kvlr's runtime runs the result.
 */
export function latentKeys({ basis, metric, centred = false }: LatentKeySettings): RopeStrategy {
  return (layer, groups, rank) => {
    const { shape, weights } = layer;
    const { headDim, numKeyValueHeads } = shape;
    const statistics = requireStatistics(layer, 'latentKeys');
    const everyHead = Array.from({ length: numKeyValueHeads }, (_, head) => head);
    const keySlotHeads = { layer: [everyHead], group: groups, head: separateHeads(groups) }[basis];
    const keySlotWidth = Math.floor((rank ?? groups.length * headDim) / keySlotHeads.length);

    const factors = keySlotHeads.map((heads) => {
      const moment = centred
        ? centredMoment(statistics.rotatedKeySecondMoment, statistics.rotatedKeyMean, heads, headDim)
        : selectTiles(statistics.rotatedKeySecondMoment, headDim, heads);
      return subspaceFactors(
        moment,
        headDim,
        keySlotWidth,
        metric === 'query' ? queryMetric(layer, heads, 'rotated') : undefined,
      );
    });

    const keyWidth = numKeyValueHeads * headDim;
    const encoder = createMatrix(keySlotHeads.length * keySlotWidth, keyWidth);
    keySlotHeads.forEach((heads, slot) => {
      const block = factors[slot]!.encoder;
      for (let row = 0; row < keySlotWidth; row++) {
        heads.forEach((head, place) => {
          const start = row * block.cols + place * headDim;
          encoder.data.set(
            block.data.subarray(start, start + headDim),
            (slot * keySlotWidth + row) * keyWidth + head * headDim,
          );
        });
      }
    });

    const queryOrder = queryOrderOf(shape, groups);
    const decoderOf = decoderLookup(shape, keySlotHeads, factors);
    const queryEncoder = new Float64Array(queryOrder.length * keySlotWidth * headDim);
    queryOrder.forEach((queryHead, place) => {
      queryEncoder.set(transpose(decoderOf(queryHead)).data, place * keySlotWidth * headDim);
    });
    const query = permuteQuery(layer, queryOrder);
    return {
      query: query.weight,
      queryBias: query.bias,
      key: weights.key,
      keyBias: weights.keyBias,
      keySlots: keySlotHeads.length,
      keySlotWidth,
      latentKeys: { encoder: encoder.data, queryEncoder },
    };
  };
}
