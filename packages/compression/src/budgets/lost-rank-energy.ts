import type { BudgetSide } from '@kvlr/core';
import { eigenvaluesSymmetric, type Matrix, multiply, selectTiles } from '@kvlr/linalg';
import { metricRoots } from '../factors/metric-roots.ts';
import { outputMetric } from '../moments/output-metric.ts';
import { queryMetric } from '../moments/query-metric.ts';
import { requireStatistics } from '../moments/require-statistics.ts';
import { valueMoment } from '../moments/value-moment.ts';
import type { CompressionMethod, SourceLayer } from '../ports.ts';
import { valueSlotsOfRank } from './value-slots.ts';

/**
 * What a method with free ranks leaves out of a layer: the share, 0..1, of the energy of its keys (as the queries see them)
 * or of its values (as the output projection does) that lies outside the leading directions. For `BudgetRequest.lostEnergy`.
 *
 * @throws KvlrError 'invalid-argument' when the layer carries no statistics.
 */
export function lostRankEnergy(
  layer: SourceLayer,
  groups: readonly (readonly number[])[],
  { basis, stage }: NonNullable<CompressionMethod['freeRanks']>,
): (side: BudgetSide, rank: number) => number {
  const { headDim, numKeyValueHeads } = layer.shape;
  const statistics = requireStatistics(layer, 'lostRankEnergy');
  const keyMoments = stage === 'rotated' ? statistics.rotatedKeySecondMoment : statistics.keySecondMoment;
  const everyHead = Array.from({ length: numKeyValueHeads }, (_, head) => head);
  const keySlots = basis === 'layer' ? [everyHead] : groups;
  const spectraOf = {
    keys: remembered((heads) => weighed(selectTiles(keyMoments, headDim, heads), queryMetric(layer, heads, stage))),
    values: remembered((heads) => weighed(valueMoment(layer, heads, 'activations'), outputMetric(layer, heads))),
  };
  return (side, rank) => {
    const slots =
      side === 'keys' ? { heads: keySlots, width: rank / keySlots.length } : valueSlotsOfRank(groups, rank, headDim);
    let lost = 0;
    let whole = 0;
    for (const heads of slots.heads) {
      spectraOf[side](heads).forEach((energy, place) => {
        whole += energy;
        if (place >= slots.width) lost += energy;
      });
    }
    return whole > 0 ? lost / whole : 0;
  };
}

/** Energies in the leading directions, descending, in the metric. */
function weighed(moment: Matrix, metric: readonly Matrix[]): Float64Array {
  const { root } = metricRoots(metric);
  return eigenvaluesSymmetric(multiply(multiply(root, moment), root)).map((value) => Math.max(0, value));
}

function remembered(compute: (heads: readonly number[]) => Float64Array): (heads: readonly number[]) => Float64Array {
  const known = new Map<string, Float64Array>();
  return (heads) => {
    const name = heads.join(' ');
    const spectrum = known.get(name) ?? compute(heads);
    known.set(name, spectrum);
    return spectrum;
  };
}
