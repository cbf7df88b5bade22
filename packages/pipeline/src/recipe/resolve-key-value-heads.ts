import { KvlrError, type ModelShape } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';

/**
 * How many KV heads the result has: the recipe's count, or its share of the source's.
 *
 * @throws KvlrError 'heads-not-divisible' unless the count divides the source's KV heads.
 */
export function resolveKeyValueHeads(shape: ModelShape, wanted: Recipe['keyValueHeads']): number {
  const source = shape.numKeyValueHeads;
  const heads = typeof wanted === 'number' ? wanted : source * wanted.keep;
  if (Number.isInteger(heads) && heads >= 1 && source % heads === 0) return heads;
  const asked = typeof wanted === 'number' ? `${wanted}` : `${wanted.keep * 100} % of ${source}, which is ${heads}`;
  throw new KvlrError('heads-not-divisible', {
    message: `resolveKeyValueHeads: expected a count that divides the model's ${source} KV heads, got ${asked}`,
    remedy: `Use one of ${divisorsOf(source).join(', ')} (--kv-heads, or keyValueHeads in the recipe).`,
    data: { numKeyValueHeads: source, wanted, divisors: divisorsOf(source) },
  });
}

/** All divisors of a count, ascending. */
export function divisorsOf(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1).filter((divisor) => count % divisor === 0);
}
