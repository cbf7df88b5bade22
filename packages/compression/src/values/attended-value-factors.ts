import { createMatrix, type Matrix, multiplyTransposed, transpose } from '@kvlr/linalg';
import { fitAttendedFactors } from '../attended/fit-attended-factors.ts';
import { normalizeEnergy } from '../factors/normalize-energy.ts';
import { valueMoment } from '../moments/value-moment.ts';
import type { SourceLayer, ValueMethod } from '../ports.ts';
import { keyValueHeadOf } from '../query-heads.ts';
import { subspaceValues } from './subspace-values.ts';

/**
 * One value per group, fitted to what the query heads attend to: alternating least squares on the block's output, started
 * from the subspace that loses least in the output metric (METHOD section 5). A value counts by how much attention it gets,
 * and errors of one head may be made good by another. Where the layer carries no moments of these heads (groups that are
 * only being weighed against others, models whose moments do not fit into memory) the start is the result.
 */
export const attendedValueFactors: ValueMethod = (layer, heads, width) => {
  const start = subspaceValues({ moment: 'activations', metric: 'output' })(layer, heads, width);
  const found = layer.attended?.find(({ heads: other }) => other.join() === heads.join());
  if (found === undefined) return start;
  const { moments, queryHeads } = found;
  const outputs = queryHeads.map((head) => outputRows(layer, head));
  const grams = outputs.map((left) => outputs.map((right) => multiplyTransposed(left, right)));
  const places = queryHeads.map((head) => heads.indexOf(keyValueHeadOf(layer.shape, head)));
  const { factors } = fitAttendedFactors({ moments, grams, places }, start);
  return normalizeEnergy(factors, valueMoment(layer, heads, 'activations'));
};

/** W_O,h^T of one query head, [D, hiddenSize]. */
function outputRows({ shape, weights }: SourceLayer, queryHead: number): Matrix {
  const { headDim, hiddenSize, numAttentionHeads } = shape;
  const columns = createMatrix(hiddenSize, headDim);
  for (let row = 0; row < hiddenSize; row++) {
    const begin = (row * numAttentionHeads + queryHead) * headDim;
    columns.data.set(weights.output.subarray(begin, begin + headDim), row * headDim);
  }
  return transpose(columns);
}
