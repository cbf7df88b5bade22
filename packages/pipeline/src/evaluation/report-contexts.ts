import type { DecoderShape } from '@kvlr/core';

/** Context lengths at which reports show the size of the cache: doublings up to the model's own limit, at most six. */
export function reportContexts(shape: DecoderShape): number[] {
  const contexts = [shape.maxPositionEmbeddings];
  while (contexts.length < 6 && contexts[0]! > 256) contexts.unshift(Math.ceil(contexts[0]! / 2));
  return contexts;
}
