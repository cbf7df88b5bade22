import { readAttentionWeights } from '@kvlr/compression';
import { createNormalRandom, type ModelSource } from '@kvlr/core';
import { oracleStatistics } from '@kvlr/testkit';
import type { FullRequest } from './planted-request.ts';

/** The request for layer 0 of a model, with statistics over random block inputs. */
export async function modelRequest(model: ModelSource, groups: number): Promise<FullRequest> {
  const { shape } = model;
  const weights = await readAttentionWeights(model, 0);
  const normal = createNormalRandom(9);
  const inputs = Array.from({ length: 48 }, () => Float64Array.from({ length: shape.hiddenSize }, normal));
  return {
    layer: 0,
    statistics: oracleStatistics(shape, 0, weights, inputs),
    heads: shape.numKeyValueHeads,
    groups,
    headDim: shape.headDim,
    numAttentionHeads: shape.numAttentionHeads,
    cost: undefined,
    weights,
  };
}
