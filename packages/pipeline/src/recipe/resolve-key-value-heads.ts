import { type DecoderShape, KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';

/**
 * How many KV heads the result has: the recipe's count, or its share of the source's.
 *
 * @throws KvlrError 'heads-not-divisible' unless the count divides the source's KV heads.
 */
export function resolveKeyValueHeads(shape: DecoderShape, wanted: Recipe['keyValueHeads']): number {
  const source = shape.numKeyValueHeads;
  const heads = typeof wanted === 'number' ? wanted : source * wanted.keep;
  if (Number.isInteger(heads) && heads >= 1 && source % heads === 0) return heads;
  const asked =
    typeof wanted === 'number'
      ? `${wanted}`
      : `${rounded(wanted.keep * 100)} % of ${source}, which is ${rounded(heads)}`;
  const divisors = divisorsOf(source);
  const nearest = divisors.reduce((best, count) => (Math.abs(count - heads) < Math.abs(best - heads) ? count : best));
  throw new KvlrError('heads-not-divisible', {
    message: `resolveKeyValueHeads: expected a count that divides the model's ${source} KV heads, got ${asked}`,
    hint: `Possible: ${divisors.join(', ')} KV heads; nearest is --kv-heads ${nearest}, ${rounded((100 * nearest) / source)} % (keyValueHeads in a recipe).`,
    data: { numKeyValueHeads: source, wanted, divisors },
  });
}

function rounded(value: number): number {
  return Number(value.toFixed(2));
}

/** All divisors of a count, ascending. */
export function divisorsOf(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1).filter((divisor) => count % divisor === 0);
}
