import { type CompressionMethod, lostRankEnergy, readAttentionWeights } from '@kvlr/compression';
import type { BudgetRequest, BudgetSide, CalibrationStatistics, ModelSource } from '@kvlr/core';
import { lostKeyEnergy, lostValueCosts } from '@kvlr/grouping';

export interface LostEnergiesRequest {
  model: ModelSource;
  statistics: CalibrationStatistics;
  method: CompressionMethod;
  /** KV heads that layers are grouped into where the budget is one of ranks. */
  keyValueHeads: number;
  groupsOf: (layer: number, keyValueHeads: number) => Promise<number[][]>;
}

type LostEnergy = (side: BudgetSide, count: number) => Promise<number>;

/** Energy that a layer loses at a count, for policies that go by it; what is costly is computed once a layer. */
export function createLostEnergies(request: LostEnergiesRequest): NonNullable<BudgetRequest['lostEnergy']> {
  const layers = new Map<number, Promise<LostEnergy>>();
  const { freeRanks } = request.method;
  return async (layer, side, count) => {
    const known = layers.get(layer) ?? (freeRanks ? ofRanks(request, layer, freeRanks) : ofHeads(request, layer));
    layers.set(layer, known);
    return (await known)(side, count);
  };
}

async function ofRanks(
  { model, statistics, keyValueHeads, groupsOf }: LostEnergiesRequest,
  layer: number,
  freeRanks: NonNullable<CompressionMethod['freeRanks']>,
): Promise<LostEnergy> {
  const weights = await readAttentionWeights(model, layer);
  const source = { shape: model.shape, layer, weights, statistics: statistics.layers[layer] };
  const lost = lostRankEnergy(source, await groupsOf(layer, keyValueHeads), freeRanks);
  return async (side, rank) => lost(side, rank);
}

async function ofHeads({ model, statistics, groupsOf }: LostEnergiesRequest, layer: number): Promise<LostEnergy> {
  const { numKeyValueHeads, headDim, numAttentionHeads } = model.shape;
  const question = {
    layer,
    statistics: statistics.layers[layer],
    heads: numKeyValueHeads,
    groups: 1,
    headDim,
    numAttentionHeads,
    cost: undefined,
    weights: await readAttentionWeights(model, layer),
  };
  const costs = { keys: lostKeyEnergy(question), values: lostValueCosts(question).exact };
  return async (side, heads) => (await groupsOf(layer, heads)).reduce((sum, group) => sum + costs[side](group), 0);
}
