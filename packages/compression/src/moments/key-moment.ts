import { type Matrix, multiplyTransposed, selectTiles } from '@kvlr/linalg';
import type { SourceLayer } from '../ports.ts';
import { centredMoment } from './centred-moment.ts';
import { headRows } from './head-rows.ts';
import { requireStatistics } from './require-statistics.ts';

/**
 * Where the second moment of keys is taken.
 * 'activations': E[k k^T] over calibration text. 'weights': W_K W_K^T, as if the input were white.
 * 'centred': keys after RoPE minus their mean over positions. What is constant there adds the same to all of a query's
 * scores, which softmax ignores, and the products of one frequency across heads do not change under RoPE.
 */
export type KeyMomentSource = 'activations' | 'weights' | 'centred';

/** Second moment of some heads' keys, [t*D, t*D]. Its complex products per frequency hold before RoPE and after it. */
export function keyMoment(layer: SourceLayer, heads: readonly number[], source: KeyMomentSource): Matrix {
  const { headDim, hiddenSize } = layer.shape;
  if (source === 'weights') {
    const rows = headRows(layer.weights.key, heads, headDim, hiddenSize);
    return multiplyTransposed(rows, rows);
  }
  const statistics = requireStatistics(layer, 'keyMoment');
  return source === 'centred'
    ? centredMoment(statistics.rotatedKeySecondMoment, statistics.rotatedKeyMean, heads, headDim)
    : selectTiles(statistics.keySecondMoment, headDim, heads);
}
