import { everyHead, type GroupCost, headComponents, type RankedCost } from '@kvlr/core';
import { createMatrix, eigHermitian, selectBlock } from '@kvlr/linalg';
import { complexKeyMoments } from '@kvlr/rope';
import { keyParts } from '../key-parts.ts';
import { centredMoment, outputMetric, queryEnergy, queryMetric } from '../moments.ts';
import { type LayerData, requireStatistics } from '../source-layer.ts';
import { lostSubspaceEnergy, type ResultHeads, WeighedMoments } from './subspace-energy.ts';
import { TopEigenvalueSolver } from './top-eigenvalue-solver.ts';

/**
 * Lost key energy plus lost value energy, each as a share of the layer's total, 0 to 2 together: what the closed forms
 * of 'rope-exact-output' leave out. The estimate has exact keys and estimated values.
 *
 * @param wanted KV heads that the layer is grouped into: the estimate is right for so many contiguous groups.
 * @param headWidth m, of the shared heads in widths of a head.
 * @throws KvlrError 'invalid-argument' when the layer carries no statistics or weights.
 */
export function lostEnergy(layer: LayerData, wanted: number, headWidth = 1): RankedCost {
  const keys = lostKeyEnergy(layer, wanted, headWidth);
  const values = lostValueEnergy(layer, wanted, headWidth);
  return {
    exact: (group) => keys.exact(group) + values.exact(group),
    estimate: (group) => keys.estimate(group) + values.estimate(group),
    work: (size) => keys.work(size) + values.work(size),
  };
}

/** A cost in units of its own, and the same of all heads. */
interface Energy extends RankedCost {
  total: number;
}

/**
 * Share of a layer's key energy that is lost when heads share one key, as the queries weigh it. What RoPE rotates is shared per
 * frequency (`lostPairEnergy`, exact and quick); what it does not rotate, of the keys less their mean, as values are, in the metric
 * of the queries.
 *
 * @param wanted KV heads that the layer is grouped into: the estimate is right for so many contiguous groups.
 * @throws KvlrError 'invalid-argument' when the layer carries no statistics.
 */
export function lostKeyEnergy(layer: LayerData, wanted: number, headWidth = 1): RankedCost {
  const parts = keyParts(layer).map(({ coordinates, rotates }) =>
    rotates
      ? lostPairEnergy(layer, coordinates, headWidth)
      : lostStillEnergy(layer, coordinates, { wanted, headWidth }),
  );
  const total = parts.reduce((sum, part) => sum + part.total, 0);
  const share = (name: 'exact' | 'estimate') => (group: readonly number[]) =>
    group.length <= headWidth || total <= 0 ? 0 : parts.reduce((sum, part) => sum + part[name](group), 0) / total;
  return {
    exact: share('exact'),
    estimate: share('estimate'),
    work: (size) => parts.reduce((sum, part) => sum + part.work(size), 0),
  };
}

/** The expected square of a score of RoPE's pair is half of the product of its energies: phases are anything. */
const energiesPerScore = 2;

/** Energy outside the m D strongest directions of the keys of a group that no position rotates, in the metric of the queries. */
function lostStillEnergy(layer: LayerData, coordinates: readonly number[], result: ResultHeads): Energy {
  const { numKeyValueHeads, headDim, attention } = layer.shape;
  const { keySecondMoment, keyMean } = requireStatistics(layer);
  const heads = everyHead(numKeyValueHeads);
  const places = headComponents(heads, headDim).filter((place) => coordinates.includes(place % headDim));
  const whole =
    attention?.softCap === undefined
      ? centredMoment(keySecondMoment, keyMean, heads, headDim)
      : createMatrix(numKeyValueHeads * headDim, numKeyValueHeads * headDim, keySecondMoment);
  const metrics = queryMetric(layer, heads, 'projected', undefined, coordinates);
  const energies = new WeighedMoments(selectBlock(whole, places, places).data, metrics);
  const cost = lostSubspaceEnergy(energies, result);
  return {
    exact: (group) => energiesPerScore * cost.exact(group),
    estimate: (group) => energiesPerScore * cost.estimate(group),
    work: cost.work,
    total: energiesPerScore * energies.totalEnergy,
  };
}

/**
 * Key energy that is lost when heads share m keys per frequency, weighted by how much the queries listen: sum over frequencies of
 * trace - m largest eigenvalues of diag(w)^(1/2) Gamma_j diag(w)^(1/2). Exact for keys that stay stock under RoPE. The weighted
 * moments are prepared once; a group of t heads then takes n/2 largest eigenvalues of t x t Hermitian matrices, or for m > 1 all.
 */
function lostPairEnergy(layer: LayerData, coordinates: readonly number[], headWidth: number): Energy {
  const { numKeyValueHeads, headDim } = layer.shape;
  const half = coordinates.length / 2;
  const heads = everyHead(numKeyValueHeads);
  const width = numKeyValueHeads * headDim;
  const places = heads.flatMap((head) => coordinates.map((coordinate) => head * headDim + coordinate));
  const whole = createMatrix(width, width, requireStatistics(layer).keySecondMoment);
  const moments = complexKeyMoments(selectBlock(whole, places, places).data, numKeyValueHeads, coordinates.length);
  const weights = queryEnergy(layer, heads, coordinates).data;
  let total = 0;
  moments.forEach(({ real, imag }, frequency) => {
    for (let row = 0; row < numKeyValueHeads; row++) {
      for (let column = 0; column < numKeyValueHeads; column++) {
        const weight = Math.sqrt(weights[row * half + frequency]! * weights[column * half + frequency]!);
        real[row * numKeyValueHeads + column]! *= weight;
        imag[row * numKeyValueHeads + column]! *= weight;
      }
      total += real[row * (numKeyValueHeads + 1)]!;
    }
  });
  const solver = new TopEigenvalueSolver(numKeyValueHeads);

  const exact: GroupCost = (group) => {
    const size = group.length;
    let lost = 0;
    for (const { real, imag } of moments) {
      let energy = 0;
      for (let row = 0; row < size; row++) {
        const source = group[row]! * numKeyValueHeads;
        for (let column = 0; column < size; column++) {
          solver.real[row * size + column] = real[source + group[column]!]!;
          solver.imag[row * size + column] = imag[source + group[column]!]!;
        }
        energy += real[source + group[row]!]!;
      }
      lost += Math.max(0, energy - (headWidth === 1 ? solver.solve(size) : leadingEnergy(solver, size, headWidth)));
    }
    return lost;
  };
  return { exact, estimate: exact, work: () => 0, total };
}

/** Sum of the largest eigenvalues of the matrix that was put into the solver. */
function leadingEnergy({ real, imag }: TopEigenvalueSolver, size: number, count: number): number {
  const [rows, cols] = [size, size];
  const { values } = eigHermitian({ rows, cols, real: real.slice(0, size * size), imag: imag.slice(0, size * size) });
  return values.subarray(0, count).reduce((sum, value) => sum + value, 0);
}

/**
 * Share of a layer's value energy, in the output metric M, that is lost when heads share one value: sum of the
 * eigenvalues of M^(1/2) C M^(1/2) beyond the m D-th, over the trace of all heads. Exact; one eigenvalue problem of size
 * t*D per group, solved once.
 *
 * @param wanted KV heads that the layer is grouped into: the estimate is right for so many contiguous groups.
 * @throws KvlrError 'invalid-argument' when the layer carries no statistics or weights.
 */
export function lostValueEnergy(layer: LayerData, wanted: number, headWidth = 1): RankedCost {
  const { valueSecondMoment } = requireStatistics(layer);
  const values = new WeighedMoments(valueSecondMoment, outputMetric(layer, everyHead(layer.shape.numKeyValueHeads)));
  const cost = lostSubspaceEnergy(values, { wanted, headWidth });
  const share =
    (lost: GroupCost): GroupCost =>
    (group) =>
      group.length <= headWidth || values.totalEnergy <= 0 ? 0 : lost(group) / values.totalEnergy;
  return { exact: share(cost.exact), estimate: share(cost.estimate), work: cost.work };
}
