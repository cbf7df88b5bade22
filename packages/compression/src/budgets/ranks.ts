import { ascendingHeads, type BudgetSide, type DecoderShape, everyHead, type HeadGroups } from '@kvlr/core';
import { eigenvaluesSymmetric, type Matrix, multiply, selectTiles } from '@kvlr/linalg';
import { metricRoots } from '../factors/subspace.ts';
import { outputMetric, queryMetric, valueMoment } from '../moments.ts';
import type { CompressionMethod } from '../ports.ts';
import { requireStatistics, type SourceLayer } from '../source-layer.ts';

/**
 * Numbers of keys, or of values, per token that a layer of a method with free ranks may keep: steps of about half a head,
 * divisible by the source's heads so that every slot gets a whole number; the rank that is `keyValueHeads` heads; and the
 * source's own width, the last.
 */
export function rankCandidates(
  { numKeyValueHeads, headDim }: Pick<DecoderShape, 'numKeyValueHeads' | 'headDim'>,
  keyValueHeads: number,
): number[] {
  const step = numKeyValueHeads * Math.ceil(headDim / (2 * numKeyValueHeads));
  const width = numKeyValueHeads * headDim;
  const steps = Array.from({ length: Math.ceil(width / step) - 1 }, (_, index) => (index + 1) * step);
  return [...new Set([...steps, keyValueHeads * headDim, width])].sort((left, right) => left - right);
}

/** The value slots of a layer: which heads share each, and how many numbers it holds. */
export interface ValueSlots {
  heads: number[][];
  width: number;
}

/**
 * Slots for `rank` numbers of values per token: the groups themselves while their slots are no wider than a head; for more,
 * every group in as few equal parts as hold them, heads ascending, as the query heads read them.
 *
 * @param rank Divisible by the number of slots that it takes; at most heads * headDim.
 */
export function valueSlotsOfRank(groups: HeadGroups, rank: number, headDim: number): ValueSlots {
  const size = groups[0]!.length;
  let parts = 1;
  while (parts < size && (groups.length * parts * headDim < rank || size % parts !== 0)) parts++;
  const width = rank / (groups.length * parts);
  if (parts === 1) return { heads: groups.map((heads) => [...heads]), width };
  const heads = ascendingHeads(groups).flatMap((group) =>
    Array.from({ length: parts }, (_, part) => group.slice((part * size) / parts, ((part + 1) * size) / parts)),
  );
  return { heads, width };
}

/**
 * What a method with free ranks leaves out of a layer: the share, 0..1, of the energy of its keys (as the queries see them)
 * or of its values (as the output projection does) that lies outside the leading directions. For `BudgetRequest.lostEnergy`.
 *
 * @throws KvlrError 'invalid-argument' when the layer carries no statistics.
 */
export function lostRankEnergy(
  layer: SourceLayer,
  groups: HeadGroups,
  { basis, stage }: NonNullable<CompressionMethod['freeRanks']>,
): (side: BudgetSide, rank: number) => number {
  const { headDim, numKeyValueHeads } = layer.shape;
  const statistics = requireStatistics(layer);
  const keyMoments = stage === 'rotated' ? statistics.rotatedKeySecondMoment : statistics.keySecondMoment;
  const keySlots = basis === 'layer' ? [everyHead(numKeyValueHeads)] : groups;
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
