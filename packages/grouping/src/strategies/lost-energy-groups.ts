import { type GroupingStrategy, KvlrError } from '@kvlr/core';
import { lostEnergyCosts } from '../costs/lost-energy-costs.ts';
import { groupingByCost } from './grouping-by-cost.ts';
import { groupingByRankedCost } from './grouping-by-ranked-cost.ts';

const fromStatistics = groupingByRankedCost(lostEnergyCosts);
const fromRequest = groupingByCost(({ cost }) => cost!);

/**
 * The groups that lose the least key and value energy (`lostEnergyCosts`). A request without statistics or weights, but
 * with a cost of its own, is searched with that.
 *
 * @throws KvlrError 'grouping-invalid' when the request carries neither.
 */
export const lostEnergyGroups: GroupingStrategy = (request) => {
  if (request.statistics && request.weights) return fromStatistics(request);
  if (request.cost) return fromRequest(request);
  throw new KvlrError('grouping-invalid', {
    message: `lost-energy (layer ${request.layer}): expected statistics and weights, or the cost of a group, got a request with neither`,
    hint: "Calibrate on a text, or take the grouping 'contiguous'.",
    data: { layer: request.layer },
  });
};
