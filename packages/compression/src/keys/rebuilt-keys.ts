import { normalizeEnergy } from '../factors/normalize-energy.ts';
import { subspaceFactors } from '../factors/subspace-factors.ts';
import { foldSharedHeads } from '../fold/fold-shared-heads.ts';
import { permuteQuery } from '../fold/permute-query.ts';
import { keyMoment } from '../moments/key-moment.ts';
import { queryMetric } from '../moments/query-metric.ts';
import type { RopeStrategy } from '../ports.ts';
import { queryOrderOf } from '../query-heads.ts';

export interface RebuiltKeySettings {
  /** 'identity' counts errors of the keys before RoPE; 'query' counts them as the queries before RoPE would see them. */
  metric: 'identity' | 'query';
}

/**
 * Rebuilt layout: each group caches the D leading directions of its keys before RoPE, folded into the key projection. The
 * keys of all heads are rebuilt from them and rotated at every step (Palu, arXiv 2407.21118), so RoPE costs no accuracy and
 * every step pays for all cached positions.
 */
export function rebuiltKeys({ metric }: RebuiltKeySettings): RopeStrategy {
  return (layer, groups, rank) => {
    const { shape, weights } = layer;
    const { headDim, numKeyValueHeads } = shape;
    const keySlotWidth = Math.floor((rank ?? groups.length * headDim) / groups.length);
    // The heads of a group ascend, as the query heads that read them do.
    const ascending = groups.map((heads) => [...heads].sort((left, right) => left - right));
    const factors = ascending.map((heads) => {
      const moment = keyMoment(layer, heads, 'activations');
      const blocks = metric === 'query' ? queryMetric(layer, heads, 'projected') : undefined;
      return normalizeEnergy(subspaceFactors(moment, headDim, keySlotWidth, blocks), moment);
    });
    const key = foldSharedHeads(weights.key, weights.keyBias, ascending, factors, headDim);
    const decoder = new Float64Array(numKeyValueHeads * headDim * keySlotWidth);
    factors
      .flatMap(({ decoders }) => decoders)
      .forEach(({ data }, head) => {
        decoder.set(data, head * data.length);
      });
    const query = permuteQuery(layer, queryOrderOf(shape, groups));
    return {
      query: query.weight,
      queryBias: query.bias,
      key: key.weight,
      keyBias: key.bias,
      keySlots: groups.length,
      keySlotWidth,
      rebuiltKeys: { decoder },
    };
  };
}
