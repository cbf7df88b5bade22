import type { GroupingRequest } from '@kvlr/core';
import { complexKeyMoments } from '@kvlr/rope';
import { queryEnergy } from '../moments/query-energy.ts';
import { TopEigenvalueSolver } from '../numeric/top-eigenvalue-solver.ts';
import type { GroupCost } from './group-cost.ts';
import { requireStatistics } from './require-request.ts';

/**
 * Share of a layer's key energy that is lost when heads share one key per frequency, weighted by how much the queries
 * listen: sum over frequencies of trace - largest eigenvalue of diag(w)^(1/2) Gamma_j diag(w)^(1/2), over the same trace
 * of all heads. Exact for keys that stay stock under RoPE. The weighted moments are prepared once; a group of t heads
 * then takes D/2 largest eigenvalues of t x t Hermitian matrices.
 *
 * @throws KvlrError 'grouping-invalid' when the request carries no statistics.
 */
export function lostKeyEnergy(request: GroupingRequest): GroupCost {
  const { heads, headDim } = request;
  const statistics = requireStatistics(request, 'lost-keys');
  const pairs = headDim / 2;
  const moments = complexKeyMoments(statistics.keySecondMoment, heads, headDim);
  const weights = queryEnergy(request, statistics);
  let total = 0;
  moments.forEach(({ real, imag }, frequency) => {
    for (let row = 0; row < heads; row++) {
      for (let column = 0; column < heads; column++) {
        const weight = Math.sqrt(weights[row * pairs + frequency]! * weights[column * pairs + frequency]!);
        real[row * heads + column]! *= weight;
        imag[row * heads + column]! *= weight;
      }
      total += real[row * (heads + 1)]!;
    }
  });
  const solver = new TopEigenvalueSolver(heads);

  return (group) => {
    const size = group.length;
    if (size === 1 || total <= 0) return 0;
    let lost = 0;
    for (const { real, imag } of moments) {
      let energy = 0;
      for (let row = 0; row < size; row++) {
        const source = group[row]! * heads;
        for (let column = 0; column < size; column++) {
          solver.real[row * size + column] = real[source + group[column]!]!;
          solver.imag[row * size + column] = imag[source + group[column]!]!;
        }
        energy += real[source + group[row]!]!;
      }
      lost += Math.max(0, energy - solver.solve(size));
    }
    return lost / total;
  };
}
