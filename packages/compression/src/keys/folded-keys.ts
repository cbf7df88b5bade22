import { decoderLookup } from '../fold/decoder-lookup.ts';
import { foldQuery } from '../fold/fold-query.ts';
import { foldSharedHeads } from '../fold/fold-shared-heads.ts';
import type { KeyMethod, RopeStrategy } from '../ports.ts';
import { queryOrderOf } from '../query-heads.ts';

/**
 * Stock layout: the factors of a key method are folded into the query and key projections, before RoPE. The result is
 * ordinary grouped-query attention with ordinary RoPE.
 */
export function foldedKeys(method: KeyMethod): RopeStrategy {
  return (layer, groups) => {
    const { shape, weights } = layer;
    const { headDim } = shape;
    const factors = groups.map((heads) => method(layer, heads));
    const key = foldSharedHeads(weights.key, weights.keyBias, groups, factors, headDim);
    const query = foldQuery(
      weights.query,
      weights.queryBias,
      queryOrderOf(shape, groups),
      decoderLookup(shape, groups, factors),
      headDim,
    );
    return {
      query: query.weight,
      queryBias: query.bias,
      key: key.weight,
      keyBias: key.bias,
      keySlots: groups.length,
      keySlotWidth: headDim,
    };
  };
}
