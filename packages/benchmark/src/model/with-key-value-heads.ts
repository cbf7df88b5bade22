import { type DecoderShape, KvlrError, stockLayout } from '@kvlr/core';

/** The shape of an ordinary model with another number of KV heads. Throws 'invalid-argument' where the heads cannot be shared evenly. */
export function withKeyValueHeads(shape: DecoderShape, numKeyValueHeads: number): DecoderShape {
  if (!(Number.isInteger(numKeyValueHeads) && shape.numAttentionHeads % numKeyValueHeads === 0)) {
    throw new KvlrError('invalid-argument', {
      message: `withKeyValueHeads: expected a divisor of ${shape.numAttentionHeads} query heads, got ${numKeyValueHeads}.`,
      data: { numAttentionHeads: shape.numAttentionHeads, numKeyValueHeads },
    });
  }
  return {
    ...shape,
    numKeyValueHeads,
    layers: shape.layers.map(() => stockLayout(numKeyValueHeads, shape.headDim)),
  };
}
