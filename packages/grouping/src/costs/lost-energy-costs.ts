import type { GroupingRequest } from '@kvlr/core';
import { WeighedValues } from '../moments/weighed-values.ts';
import { CachedCost } from '../search/cached-cost.ts';
import { contiguousPartition } from '../search/contiguous-partition.ts';
import type { GroupCost } from './group-cost.ts';
import { lostKeyEnergy } from './lost-key-energy.ts';
import { lostValueEnergy } from './lost-value-energy.ts';
import { requireStatistics, requireWeights } from './require-request.ts';
import { valueEnergySurrogate } from './value-energy-surrogate.ts';

/** A cost, and an estimate of it that is quick enough for searching among many heads. */
export interface RankedCost {
  exact: GroupCost;
  surrogate: GroupCost;
}

/**
 * Lost key energy plus lost value energy, each as a share of the layer's total, 0 to 2 together: what the closed forms
 * of 'rope-exact-output' leave out. The surrogate has exact keys and estimated values.
 *
 * @throws KvlrError 'grouping-invalid' when the request lacks statistics or weights.
 */
export function lostEnergyCosts(request: GroupingRequest): RankedCost {
  const keys = lostKeyEnergy(request);
  const values = lostValueCosts(request);
  return {
    exact: (group) => keys(group) + values.exact(group),
    surrogate: (group) => keys(group) + values.surrogate(group),
  };
}

/**
 * The value part of `lostEnergyCosts`.
 *
 * @throws KvlrError 'grouping-invalid' when the request lacks statistics or weights.
 */
export function lostValueCosts(request: GroupingRequest): RankedCost {
  const { heads, headDim } = request;
  const statistics = requireStatistics(request, 'lost-values');
  const values = new WeighedValues(request, statistics, requireWeights(request, 'lost-values'));
  const known = new CachedCost(heads, lostValueEnergy(values, headDim));
  const exact: GroupCost = (group) => known.of(group);
  // Prepared when it is first asked for: small layers are searched with the exact cost alone.
  let surrogate: GroupCost | undefined;
  return {
    exact,
    surrogate: (group) => {
      surrogate ??= scaledTo(
        exact,
        valueEnergySurrogate(values, statistics.valueSecondMoment, heads, headDim),
        request,
      );
      return surrogate(group);
    },
  };
}

/** The estimate in the units of the exact cost: right for the sum over the contiguous groups. */
function scaledTo(exact: GroupCost, estimate: GroupCost, request: GroupingRequest): GroupCost {
  const groups = contiguousPartition(request.heads, request.heads / request.groups);
  const total = (cost: GroupCost) => groups.reduce((sum, group) => sum + cost(group), 0);
  const estimated = total(estimate);
  const scale = estimated > 0 ? total(exact) / estimated : 1;
  return (group) => scale * estimate(group);
}
