import type { DecoderShape, LayerShape } from '@kvlr/core';

/**
 * What a decoder has that one of LLaMA's kind has not (RMSNorm before each block, rotary positions over whole heads, gated
 * feed-forward, no more), in words; undefined for one of that kind. For exports that know of nothing else.
 */
export function beyondLlama(shape: DecoderShape): string | undefined {
  const { attention, blocks, embedding, feedForward, head, headDim, hiddenSize } = shape;
  const { norm } = blocks;
  const features: [what: string, isThere: boolean][] = [
    ['LayerNorm', norm.kind === 'layer'],
    ['norms without weights, with biases or with an offset', !norm.weight || norm.bias || norm.unitOffset],
    ['norms that stand elsewhere than before each block', blocks.before !== 'each' || blocks.after !== 'none'],
    ['parallel blocks', blocks.parallel],
    ['a factor of residuals', blocks.residualScale !== 1],
    ['a norm or a factor of the embedding', embedding.norm !== undefined || embedding.scale !== 1],
    ['learned positions', embedding.learnedPositions !== undefined],
    ['a projected embedding', embedding.width !== hiddenSize],
    ['a norm of queries and keys', attention.queryKeyNorm !== undefined],
    ['capped scores or clipped projections', attention.softCap !== undefined || attention.clip !== undefined],
    ['another factor of scores', attention.scoreScale !== 1 / Math.sqrt(headDim)],
    ['a feed-forward block without gate', !feedForward.gated],
    ['no norm before the head', head.norm === undefined],
    ['a bias, a factor or a cap of the logits', head.bias || head.scale !== 1 || head.softCap !== undefined],
    ['a sliding window', shape.layers.some(({ window }) => window !== undefined)],
    ['positions other than RoPE over whole heads', !shape.layers.every((layer) => hasWholeRope(layer, headDim))],
    [
      'RoPE that differs between layers',
      new Set(shape.layers.map(({ positions }) => JSON.stringify(positions))).size > 1,
    ],
  ];
  return features.find(([, isThere]) => isThere)?.[0];
}

function hasWholeRope({ positions }: LayerShape, headDim: number): boolean {
  return positions.kind === 'rope' && positions.rotaryDim === headDim && positions.pairs === 'half-split';
}
