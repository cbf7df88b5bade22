/**
 * What is known of the embedded checkpoint. Perplexities: 24 windows of 513 tokens from each source of the validation text,
 * positions 1 to 512 predicted from the window's own tokens, 36,864 predictions in all.
 */
export const referenceModelCard = {
  name: 'kvlr-reference-6m',
  parameters: 5_868_800,
  numLayers: 6,
  hiddenSize: 256,
  numAttentionHeads: 8,
  numKeyValueHeads: 8,
  headDim: 32,
  vocabSize: 4096,
  maxPositionEmbeddings: 1024,
  perplexity: 30.61,
  perplexityBySource: { sotu: 25.35, 'moby-dick': 69.4, kjv: 16.3 },
} as const;
