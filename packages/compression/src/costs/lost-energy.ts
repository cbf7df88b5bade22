import {
  contiguousHeads,
  everyHead,
  type GroupCost,
  type HeadGroups,
  headComponents,
  type RankedCost,
} from '@kvlr/core';
import {
  cholesky,
  createMatrix,
  eigenvaluesSymmetric,
  eigHermitian,
  innerProduct,
  type Matrix,
  multiply,
  scale,
  selectBlock,
  selectTiles,
  trace,
  transpose,
} from '@kvlr/linalg';
import { complexKeyMoments } from '@kvlr/rope';
import { keyParts } from '../key-parts.ts';
import { centredMoment, outputMetric, queryEnergy, queryMetric } from '../moments.ts';
import { type LayerData, requireStatistics } from '../source-layer.ts';
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

/** How many heads are to be left, and their width in widths of a head. */
interface ResultHeads {
  wanted: number;
  headWidth: number;
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

/** Energy of vectors of heads outside the m D strongest directions of a group; eigenvalues of each group are solved for once. */
function lostSubspaceEnergy(vectors: WeighedMoments, { wanted, headWidth }: ResultHeads): RankedCost {
  const { numHeads, headDim } = vectors;
  const kept = headWidth * headDim;
  const known = new Map<string, number>();
  const exact: GroupCost = (group) => {
    if (group.length <= headWidth) return 0;
    const heads = group.toSorted((left, right) => left - right);
    const name = heads.join(' ');
    const lost = known.get(name) ?? tail(eigenvaluesSymmetric(vectors.assemble(heads)), kept);
    known.set(name, lost);
    return lost;
  };
  // Prepared when it is first asked for: small layers are searched with the exact cost alone.
  let estimate: GroupCost | undefined;
  return {
    exact,
    estimate: (group) => {
      const groups = contiguousHeads(numHeads, numHeads / wanted);
      estimate ??= scaledTo(exact, estimatedLoss(vectors, kept), groups);
      return estimate(group);
    },
    work: (size) => (size * headDim) ** 3,
  };
}

/** Sum of the eigenvalues after the first `kept`; rounding below zero counts as zero. */
function tail(spectrum: Float64Array, kept: number): number {
  return spectrum.subarray(kept).reduce((sum, value) => sum + Math.max(0, value), 0);
}

/** The estimate in the units of the exact cost: right for the sum over these groups. */
function scaledTo(exact: GroupCost, estimate: GroupCost, groups: HeadGroups): GroupCost {
  const total = (cost: GroupCost) => groups.reduce((sum, group) => sum + cost(group), 0);
  const estimated = total(estimate);
  const factor = estimated > 0 ? total(exact) / estimated : 1;
  return (group) => factor * estimate(group);
}

/**
 * A quick estimate of `lostSubspaceEnergy` for ranking candidates, from pairs of heads alone: what would be lost if the heads
 * were uncorrelated (the tail of their spectra put together, which is exact in that case), times one minus the mean
 * coherence of the pairs, sum of |C_ij|^2 over i != j / ((t - 1) sum of |C_ii|^2), in Frobenius norms with the diagonal
 * of the metric. Equal heads lose nothing, as they should. Everything but the last sums is prepared once.
 */
function estimatedLoss(vectors: WeighedMoments, keptDirections: number): GroupCost {
  const { numHeads, headDim } = vectors;
  const spectra = everyHead(numHeads).map((head) => eigenvaluesSymmetric(vectors.block(head, head)));
  const crossEnergy = crossEnergies(vectors.moment, vectors.metricDiagonals, numHeads, headDim);
  const next = new Uint32Array(numHeads);

  /** Energy beyond the strongest of all the heads' directions. */
  const uncorrelatedLoss = (group: readonly number[]): number => {
    let kept = 0;
    let energy = 0;
    for (const head of group) {
      next[head] = 0;
      energy += vectors.energies[head]!;
    }
    for (let direction = 0; direction < keptDirections; direction++) {
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
    if (size * headDim <= keptDirections) return 0;
    let own = 0;
    let shared = 0;
    for (let row = 0; row < size; row++) {
      own += crossEnergy[group[row]! * (numHeads + 1)]!;
      for (let column = 0; column < row; column++) {
        shared += 2 * crossEnergy[group[row]! * numHeads + group[column]!]!;
      }
    }
    const coherence = own > 0 ? Math.min(1, shared / ((size - 1) * own)) : 0;
    return uncorrelatedLoss(group) * (1 - coherence);
  };
}

/** Sums over the entries of each pair of heads' block of m_a C_ab^2 m_b, [K, K]. */
function crossEnergies(moment: Float64Array, metric: Float64Array, numHeads: number, headDim: number): Float64Array {
  const width = numHeads * headDim;
  const energies = new Float64Array(numHeads * numHeads);
  for (let row = 0; row < width; row++) {
    const target = Math.floor(row / headDim) * numHeads;
    for (let head = 0; head < numHeads; head++) {
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

/** Added to the diagonal of a metric, as a share of the largest mean diagonal: no direction weighs nothing. */
const relativeRidge = 1e-8;

/**
 * Second moments of the vectors of a layer's heads in a metric, block by block: L_i^T C_ij L_j with M_i = L_i L_i^T the metric of
 * head i. Any such root of M gives the spectra of M^(1/2) C M^(1/2). Blocks are computed when they are first asked for: a search
 * looks at few of the K (K + 1) / 2 there are.
 */
class WeighedMoments {
  /** Sum over all heads of the energy of their vectors in the metric. */
  readonly totalEnergy: number;
  /** tr(M_i C_ii), per head. */
  readonly energies: Float64Array;
  /** Diagonals of the metrics, [K, D]. */
  readonly metricDiagonals: Float64Array;
  readonly numHeads: number;
  readonly headDim: number;
  private readonly roots: (Matrix | undefined)[] = [];
  private readonly blocks = new Map<number, Matrix>();
  private readonly ridge: number;

  /**
   * @param moment C, [K*D, K*D].
   * @param metrics M_i, [D, D] for each head.
   */
  constructor(
    readonly moment: Float64Array,
    private readonly metrics: readonly Matrix[],
  ) {
    const headDim = metrics[0]!.rows;
    this.numHeads = metrics.length;
    this.headDim = headDim;
    this.metricDiagonals = Float64Array.from(
      this.metrics.flatMap(({ data }) => Array.from({ length: headDim }, (_, index) => data[index * (headDim + 1)]!)),
    );
    const largest = this.metrics.reduce((highest, metric) => Math.max(highest, trace(metric) / headDim), 0);
    // A metric of zeros says that no error matters; it is read as the identity.
    this.ridge = largest > 0 ? largest * relativeRidge : 1;
    this.energies = Float64Array.from(this.metrics, (metric, head) => {
      const own = selectTiles(this.moment, headDim, [head]);
      return this.ridge * trace(own) + innerProduct(metric, own);
    });
    this.totalEnergy = this.energies.reduce((sum, energy) => sum + energy, 0);
  }

  /** L_i^T C_ij L_j, [D, D], for i <= j. */
  block(i: number, j: number): Matrix {
    const place = i * this.numHeads + j;
    let block = this.blocks.get(place);
    if (block === undefined) {
      const moment = selectTiles(this.moment, this.headDim, [i], [j]);
      block = multiply(multiply(transpose(this.root(i)), moment), this.root(j));
      this.blocks.set(place, block);
    }
    return block;
  }

  /** The blocks of some heads, ascending, as one symmetric matrix, [t*D, t*D]. */
  assemble(group: readonly number[]): Matrix {
    const { headDim } = this;
    const size = group.length * headDim;
    const whole = createMatrix(size, size);
    group.forEach((rowHead, rowPlace) => {
      group.forEach((columnHead, columnPlace) => {
        if (rowHead > columnHead) return;
        const { data } = this.block(rowHead, columnHead);
        for (let row = 0; row < headDim; row++) {
          for (let column = 0; column < headDim; column++) {
            const left = rowPlace * headDim + row;
            const right = columnPlace * headDim + column;
            const value = data[row * headDim + column]!;
            whole.data[left * size + right] = value;
            whole.data[right * size + left] = value;
          }
        }
      });
    });
    return whole;
  }

  private root(head: number): Matrix {
    let root = this.roots[head];
    if (root === undefined) {
      const raised = scale(this.metrics[head]!, 1);
      for (let index = 0; index < this.headDim; index++) raised.data[index * (this.headDim + 1)]! += this.ridge;
      root = cholesky(raised);
      this.roots[head] = root;
    }
    return root;
  }
}
