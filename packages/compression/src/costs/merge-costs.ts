import { type GroupingRequest, KvlrError, type NamedCost } from '@kvlr/core';
import type { LayerData } from '../source-layer.ts';
import { lostEnergy, lostKeyEnergy, lostValueEnergy } from './lost-energy.ts';
import { subspaceAffinity, weightSimilarity } from './similarity.ts';

/**
 * What letting heads share may be said to cost: a grouping of each name looks for the groups that cost least. One more cost is
 * one more entry here.
 */
export const mergeCosts = {
  'weight-similarity': {
    description: 'Heads whose key and value projections look alike (cosine)',
    needsStatistics: false,
    needsWeights: true,
    costOf: (request) => weightSimilarity(layerData(request)),
  },
  'subspace-affinity': {
    description: 'Heads whose keys and values live in the same subspaces (principal angles)',
    needsStatistics: true,
    needsWeights: false,
    costOf: (request) => subspaceAffinity(layerData(request)),
  },
  'lost-keys': {
    description: 'The groups that lose the least key energy, as the queries weigh it',
    needsStatistics: true,
    needsWeights: false,
    costOf: (request) => lostKeyEnergy(layerData(request), request.wanted, request.headWidth),
  },
  'lost-values': {
    description: 'The groups that lose the least value energy, as the output projection sees it',
    needsStatistics: true,
    needsWeights: true,
    costOf: (request) => lostValueEnergy(layerData(request), request.wanted, request.headWidth),
  },
  'lost-energy': {
    description: 'The groups that lose the least key and value energy together',
    needsStatistics: true,
    needsWeights: true,
    costOf: lostEnergyOf,
  },
} as const satisfies Record<string, NamedCost>;

/**
 * Lost energy. A request without statistics or weights, but with a cost of its own, is searched with that.
 *
 * @throws KvlrError 'invalid-argument' when the request carries neither.
 */
function lostEnergyOf(request: GroupingRequest) {
  if (request.statistics && request.weights) return lostEnergy(layerData(request), request.wanted, request.headWidth);
  if (request.cost) return request.cost;
  throw new KvlrError('invalid-argument', {
    message: 'expected statistics and weights, or the cost of a group, got a request with neither',
    hint: "Calibrate on a text, or take the grouping 'contiguous'.",
    where: { layer: request.layer },
  });
}

function layerData(request: GroupingRequest): LayerData {
  const { layer, numKeyValueHeads, numAttentionHeads, headDim, positions, weights, statistics } = request;
  return { shape: { numKeyValueHeads, numAttentionHeads, headDim }, layer, positions, weights, statistics };
}
