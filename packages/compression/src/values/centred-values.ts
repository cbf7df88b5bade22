import { createMatrix, type Matrix, multiply } from '@kvlr/linalg';
import { requireStatistics } from '../moments/require-statistics.ts';
import type { ValueMethod } from '../ports.ts';
import { subspaceValues } from './subspace-values.ts';

/**
 * As `subspaceValues` of activations in the output metric, where the mean value costs nothing: directions are spent on what
 * varies, and what they lose of the mean moves into the bias of the output projection. A model without that bias has no
 * place for it; there the values are fitted with their mean.
 */
export const centredValues: ValueMethod = (layer, heads, width) => {
  const { headDim, outputBias } = layer.shape;
  if (!outputBias) return subspaceValues({ moment: 'activations', metric: 'output' })(layer, heads, width);
  const factors = subspaceValues({ moment: 'centred', metric: 'output' })(layer, heads, width);
  const { valueMean } = requireStatistics(layer, 'centredValues');
  const means = heads.map((head) => valueMean.slice(head * headDim, (head + 1) * headDim));
  const encoded = multiply(factors.encoder, column(means.flatMap((mean) => [...mean])));
  const lostMeans = factors.decoders.map((decoder, place) => {
    const kept = multiply(decoder, encoded).data;
    return means[place]!.map((value, row) => value - kept[row]!);
  });
  return { ...factors, lostMeans };
};

function column(data: readonly number[]): Matrix {
  return createMatrix(data.length, 1, Float64Array.from(data));
}
