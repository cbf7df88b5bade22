import { type DecoderShape, stockLayout } from '@kvlr/core';

const numLayers = 30;
const headDim = 72;

/**
 * The sizes of SmolLM2-135M (30 layers, 576 wide, feed-forward 1536, vocabulary 49,152, 8,192 positions), with 8 query heads of 72
 * as multi-head attention in place of its 9 of 64 over 3, so that 8, 4, 2 and 1 KV heads are all there is to compare.
 */
export const smolShape: DecoderShape = {
  architecture: 'llama',
  numLayers,
  hiddenSize: 576,
  intermediateSize: 1536,
  numAttentionHeads: 8,
  numKeyValueHeads: 8,
  headDim,
  vocabSize: 49152,
  maxPositionEmbeddings: 8192,
  rmsNormEpsilon: 1e-5,
  hiddenActivation: 'silu',
  tieWordEmbeddings: true,
  attentionBias: false,
  outputBias: false,
  mlpBias: false,
  rope: { type: 'default', theta: 100000 },
  layers: Array.from({ length: numLayers }, () => stockLayout(8, headDim)),
};
