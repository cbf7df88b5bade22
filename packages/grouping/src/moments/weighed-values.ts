import type { AttentionWeights, GroupingRequest, LayerStatistics } from '@kvlr/core';
import { cholesky, createMatrix, type Matrix, multiply, selectTiles, transpose } from '@kvlr/linalg';
import { outputMetric } from './output-metric.ts';

/** Added to the diagonal of a metric, as a share of the largest mean diagonal: no direction weighs nothing. */
const relativeRidge = 1e-8;

/**
 * Second moments of a layer's values as the output projection sees them, block by block: L_i^T C_ij L_j with
 * M_i = L_i L_i^T the output metric of head i. Any such root of M gives the spectra of M^(1/2) C M^(1/2). Blocks are
 * computed when they are first asked for: a search looks at few of the K (K + 1) / 2 there are.
 */
export class WeighedValues {
  /** Sum over all heads of the energy of their values in the output metric. */
  readonly totalEnergy: number;
  /** tr(M_i C_ii), per head. */
  readonly energies: Float64Array;
  /** Diagonals of the output metrics, [K, D]. */
  readonly metricDiagonals: Float64Array;
  private readonly moment: Float64Array;
  private readonly metrics: Matrix[];
  private readonly roots: (Matrix | undefined)[] = [];
  private readonly blocks = new Map<number, Matrix>();
  private readonly heads: number;
  private readonly headDim: number;
  private readonly ridge: number;

  constructor(request: GroupingRequest, statistics: LayerStatistics, weights: AttentionWeights) {
    const { heads, headDim } = request;
    this.heads = heads;
    this.headDim = headDim;
    this.moment = statistics.valueSecondMoment;
    this.metrics = Array.from({ length: heads }, (_, head) => outputMetric(request, weights, head));
    this.metricDiagonals = Float64Array.from(
      this.metrics.flatMap(({ data }) => Array.from({ length: headDim }, (_, index) => data[index * (headDim + 1)]!)),
    );
    const largest = this.metrics.reduce((highest, metric) => Math.max(highest, trace(metric) / headDim), 0);
    // A metric of zeros says that no error matters; it is read as the identity.
    this.ridge = largest > 0 ? largest * relativeRidge : 1;
    this.energies = Float64Array.from(this.metrics, (metric, head) => {
      const moment = selectTiles(this.moment, headDim, [head]);
      return metric.data.reduce((sum, value, index) => sum + value * moment.data[index]!, this.ridge * trace(moment));
    });
    this.totalEnergy = this.energies.reduce((sum, energy) => sum + energy, 0);
  }

  /** L_i^T C_ij L_j, [D, D], for i <= j. */
  block(i: number, j: number): Matrix {
    const place = i * this.heads + j;
    let block = this.blocks.get(place);
    if (block === undefined) {
      const moment = selectTiles(this.moment, this.headDim, [i], [j]);
      block = multiply(multiply(transpose(this.root(i)), moment), this.root(j));
      this.blocks.set(place, block);
    }
    return block;
  }

  /** The blocks of some heads as one symmetric matrix, [t*D, t*D]. */
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
      const { headDim } = this;
      const { data } = this.metrics[head]!;
      const raised = createMatrix(headDim, headDim, data.slice());
      for (let index = 0; index < headDim; index++) raised.data[index * (headDim + 1)]! += this.ridge;
      root = cholesky(raised);
      this.roots[head] = root;
    }
    return root;
  }
}

function trace({ data, rows }: Matrix): number {
  let sum = 0;
  for (let index = 0; index < rows; index++) sum += data[index * (rows + 1)]!;
  return sum;
}
