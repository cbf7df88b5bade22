import { createMatrix } from '@kvlr/linalg';
import { innerProduct } from '../factors/inner-product.ts';
import type { SourceLayer } from '../ports.ts';
import { keyValueHeadOf } from '../query-heads.ts';
import { centredMoment } from './centred-moment.ts';
import { addOutputGram } from './output-metric.ts';
import { requireStatistics } from './require-statistics.ts';

/**
 * How much an error in the scores of a query head moves the output of the block: a wrong score puts weight on other values,
 * which differ from one another by tr(W_O,h Cov(v) W_O,h^T). Values that are all alike make scores irrelevant.
 */
export function scoreWeight(layer: SourceLayer, queryHead: number): number {
  const { shape } = layer;
  const { valueSecondMoment, valueMean } = requireStatistics(layer, 'scoreWeight');
  const gram = createMatrix(shape.headDim, shape.headDim);
  addOutputGram(gram, layer, queryHead);
  const head = keyValueHeadOf(shape, queryHead);
  return Math.max(0, innerProduct(gram, centredMoment(valueSecondMoment, valueMean, [head], shape.headDim)));
}
