import { type Matrix, multiplyTransposed, selectTiles } from '@kvlr/linalg';
import type { SourceLayer } from '../ports.ts';
import { centredMoment } from './centred-moment.ts';
import { headRows } from './head-rows.ts';
import { requireStatistics } from './require-statistics.ts';

/**
 * 'activations': E[v v^T] over calibration text. 'centred': the same less the product of the means. 'weights': W_V W_V^T, as
 * if the input were white.
 */
export type ValueMomentSource = 'activations' | 'centred' | 'weights';

/** Second moment of some heads' values, [t*D, t*D]. */
export function valueMoment(layer: SourceLayer, heads: readonly number[], source: ValueMomentSource): Matrix {
  const { headDim, hiddenSize } = layer.shape;
  if (source === 'weights') {
    const rows = headRows(layer.weights.value, heads, headDim, hiddenSize);
    return multiplyTransposed(rows, rows);
  }
  const { valueSecondMoment, valueMean } = requireStatistics(layer, 'valueMoment');
  return source === 'centred'
    ? centredMoment(valueSecondMoment, valueMean, heads, headDim)
    : selectTiles(valueSecondMoment, headDim, heads);
}
