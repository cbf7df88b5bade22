import { eigenvaluesSymmetric } from '@kvlr/linalg';
import type { WeighedValues } from '../moments/weighed-values.ts';
import type { GroupCost } from './group-cost.ts';

/**
 * A quick estimate of `lostValueEnergy` for ranking candidates, from pairs of heads alone: what would be lost if the heads
 * were uncorrelated (the tail of their spectra put together, which is exact in that case), times one minus the mean
 * coherence of the pairs, sum of |C_ij|^2 over i != j / ((t - 1) sum of |C_ii|^2), in Frobenius norms with the diagonal
 * of the output metric. Equal heads lose nothing, as they should. Everything but the last sums is prepared once.
 *
 * @param valueSecondMoment E[v v^T], [K*D, K*D].
 */
export function valueEnergySurrogate(
  values: WeighedValues,
  valueSecondMoment: Float64Array,
  heads: number,
  headDim: number,
): GroupCost {
  const spectra = Array.from({ length: heads }, (_, head) => eigenvaluesSymmetric(values.block(head, head)));
  const crossEnergy = crossEnergies(valueSecondMoment, values.metricDiagonals, heads, headDim);
  const next = new Uint32Array(heads);

  /** Energy beyond the D strongest of all the heads' directions. */
  const uncorrelatedLoss = (group: readonly number[]): number => {
    let kept = 0;
    let energy = 0;
    for (const head of group) {
      next[head] = 0;
      energy += values.energies[head]!;
    }
    for (let direction = 0; direction < headDim; direction++) {
      let strongest = group[0]!;
      let most = Number.NEGATIVE_INFINITY;
      for (const head of group) {
        const place = next[head]!;
        if (place < headDim && spectra[head]![place]! > most) {
          strongest = head;
          most = spectra[head]![place]!;
        }
      }
      kept += most;
      next[strongest]! += 1;
    }
    return Math.max(0, energy - kept);
  };

  return (group) => {
    const size = group.length;
    if (size === 1 || values.totalEnergy <= 0) return 0;
    let own = 0;
    let shared = 0;
    for (let row = 0; row < size; row++) {
      own += crossEnergy[group[row]! * (heads + 1)]!;
      for (let column = 0; column < row; column++) shared += 2 * crossEnergy[group[row]! * heads + group[column]!]!;
    }
    const coherence = own > 0 ? Math.min(1, shared / ((size - 1) * own)) : 0;
    return (uncorrelatedLoss(group) * (1 - coherence)) / values.totalEnergy;
  };
}

/** Sums over the entries of each pair of heads' block of m_a C_ab^2 m_b, [K, K]. */
function crossEnergies(moment: Float64Array, metric: Float64Array, heads: number, headDim: number): Float64Array {
  const width = heads * headDim;
  const energies = new Float64Array(heads * heads);
  for (let row = 0; row < width; row++) {
    const target = Math.floor(row / headDim) * heads;
    for (let head = 0; head < heads; head++) {
      let sum = 0;
      for (let column = head * headDim; column < (head + 1) * headDim; column++) {
        const entry = moment[row * width + column]!;
        sum += entry * entry * metric[column]!;
      }
      energies[target + head]! += sum * metric[row]!;
    }
  }
  return energies;
}
