/** Parameters of rotary position embeddings, read from a Hugging Face config. */
export interface RopeParameters {
  type: 'default' | 'linear' | 'llama3';
  /** Base of the geometric progression of frequencies (rope_theta). */
  theta: number;
  /** Stretch of the position axis (linear, llama3). */
  factor?: number;
  lowFrequencyFactor?: number;
  highFrequencyFactor?: number;
  originalMaxPositionEmbeddings?: number;
}

/**
 * Where one layer's attention reads its cache. A token's entry is [keyWidth | valueWidth] numbers:
 * `keySlots` slices of `keySlotWidth` numbers, then `valueSlots` slices of `valueSlotWidth` numbers.
 * Query head h of H reads key slice floor(h * keySlots / H) and value slice floor(h * valueSlots / H).
 *
 * Stock grouped-query attention with G KV heads: G slots of headDim for both.
 * Latent keys, one basis per layer: one key slot of rank r. Latent or rebuilt keys, one basis per group: G key slots of rank r.
 */
export interface LayerCacheLayout {
  keySlots: number;
  keySlotWidth: number;
  valueSlots: number;
  valueSlotWidth: number;
  /**
   * 'stock': the key slots hold rotated keys of headDim, as any engine with GQA does.
   * 'latent': all the model's original keys are rotated, then encoded (`LatentKeyWeights.encoder`) into the slots.
   * 'rebuilt': the slots hold what the k projection gives, before RoPE. At every step the keys of numKeyValueHeads heads are
   * rebuilt from them (`RebuiltKeyWeights.decoder`) for all cached positions, then rotated: exact with RoPE, and dear.
   */
  keys: 'stock' | 'latent' | 'rebuilt';
}

/** The numbers that fix a decoder's computation, independent of file format. */
export interface DecoderShape {
  /** Identifier of the architecture descriptor, for example 'llama'. */
  architecture: string;
  numLayers: number;
  hiddenSize: number;
  intermediateSize: number;
  numAttentionHeads: number;
  /** Heads of the k and v projections per layer. Under latent keys the k projection keeps the source's count. */
  numKeyValueHeads: number;
  headDim: number;
  vocabSize: number;
  maxPositionEmbeddings: number;
  rmsNormEpsilon: number;
  hiddenActivation: 'silu' | 'gelu' | 'gelu_pytorch_tanh';
  tieWordEmbeddings: boolean;
  /** True when the q, k and v projections carry biases (LLaMA's attention_bias, always in Qwen2). */
  attentionBias: boolean;
  /** True when the output projection carries a bias (LLaMA's attention_bias, never in Qwen2). */
  outputBias: boolean;
  mlpBias: boolean;
  rope: RopeParameters;
  /** One cache layout per layer. */
  layers: LayerCacheLayout[];
}

/** The cache layout of ordinary grouped-query attention. */
export function stockLayout(numKeyValueHeads: number, headDim: number): LayerCacheLayout {
  return {
    keySlots: numKeyValueHeads,
    keySlotWidth: headDim,
    valueSlots: numKeyValueHeads,
    valueSlotWidth: headDim,
    keys: 'stock',
  };
}

/** Numbers that one token's entry takes in one layer's cache. */
export function cacheWidth(layout: LayerCacheLayout): number {
  return layout.keySlots * layout.keySlotWidth + layout.valueSlots * layout.valueSlotWidth;
}
