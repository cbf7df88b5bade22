import { identity } from '@kvlr/linalg';
import type { SourceLayer } from '../ports.ts';
import { foldQuery } from './fold-query.ts';

/** The layer's query rows in the order of the result, otherwise unchanged. */
export function permuteQuery({ shape, weights }: SourceLayer, queryOrder: readonly number[]) {
  const unchanged = identity(shape.headDim);
  return foldQuery(weights.query, weights.queryBias, queryOrder, () => unchanged, shape.headDim);
}
