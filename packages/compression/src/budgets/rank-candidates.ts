import type { DecoderShape } from '@kvlr/core';

/**
 * Numbers of keys, or of values, per token that a layer of a method with free ranks may keep: steps of about half a head,
 * divisible by the source's heads so that every slot gets a whole number; the rank that is `keyValueHeads` heads; and the
 * source's own width, the last.
 */
export function rankCandidates(
  { numKeyValueHeads, headDim }: Pick<DecoderShape, 'numKeyValueHeads' | 'headDim'>,
  keyValueHeads: number,
): number[] {
  const step = numKeyValueHeads * Math.ceil(headDim / (2 * numKeyValueHeads));
  const width = numKeyValueHeads * headDim;
  const steps = Array.from({ length: Math.ceil(width / step) - 1 }, (_, index) => (index + 1) * step);
  return [...new Set([...steps, keyValueHeads * headDim, width])].sort((left, right) => left - right);
}
