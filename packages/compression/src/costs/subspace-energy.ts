import { contiguousHeads, everyHead, type GroupCost, type HeadGroups, type RankedCost } from '@kvlr/core';
import {
  cholesky,
  createMatrix,
  eigenvaluesSymmetric,
  innerProduct,
  type Matrix,
  multiply,
  scale,
  selectTiles,
  trace,
  transpose,
} from '@kvlr/linalg';

/** How many heads are to be left, and their width in widths of a head. */
export interface ResultHeads {
  wanted: number;
  headWidth: number;
}

/** Energy of vectors of heads outside the m D strongest directions of a group; eigenvalues of each group are solved for once. */
export function lostSubspaceEnergy(vectors: WeighedMoments, { wanted, headWidth }: ResultHeads): RankedCost {
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
export class WeighedMoments {
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
