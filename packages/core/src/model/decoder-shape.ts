/**
 * Parameters of rotary position embeddings, read from a Hugging Face config. What each kind makes of them stands at `ropeFrequencies`
 * of @kvlr/rope.
 */
export type RopeParameters = {
  /** Base of the geometric progression of frequencies (rope_theta). */
  theta: number;
} & RopeScaling;

/** How the frequencies of a model are stretched for texts longer than those it was first trained on. */
export type RopeScaling =
  | { type: 'default' }
  /** `factor`: stretch of the position axis. */
  | { type: 'linear'; factor: number }
  /** NTK-aware, by the length of the sequence that is read, for texts up to `factor` times the original context. */
  | { type: 'dynamic'; factor: number; originalMaxPositionEmbeddings: number }
  | {
      type: 'yarn';
      factor: number;
      originalMaxPositionEmbeddings: number;
      /** Factor of cosines and sines; left out, it follows from `factor`, `mscale` and `mscaleAllDim`. */
      attentionFactor?: number;
      /** Pairs that turn more often than this over the original context are kept. Default 32. */
      betaFast?: number;
      /** Pairs that turn less often than this over the original context are stretched. Default 1. */
      betaSlow?: number;
      mscale?: number;
      mscaleAllDim?: number;
      /** False: the bounds between kept and stretched pairs are not rounded to whole pairs. Default true. */
      truncate?: boolean;
    }
  | {
      type: 'longrope';
      /** Ratio of the context to the original one. */
      factor: number;
      originalMaxPositionEmbeddings: number;
      /** A stretch for every pair, [rotaryDim / 2]: of sequences up to the original context, and of longer ones. */
      shortFactor: readonly number[];
      longFactor: readonly number[];
      /** Factor of cosines and sines; left out, it follows from `factor` and the original context. */
      attentionFactor?: number;
    }
  | {
      type: 'llama3';
      factor: number;
      lowFrequencyFactor: number;
      highFrequencyFactor: number;
      originalMaxPositionEmbeddings: number;
    };

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
   * 'latent': all the model's original keys are rotated, then encoded (`LatentKeys.encoder`) into the slots.
   * 'rebuilt': the slots hold what the k projection gives, before RoPE. At every step the keys of numKeyValueHeads heads are
   * rebuilt from them (`RebuiltKeys.decoder`) for all cached positions, then rotated: exact with RoPE, and expensive.
   */
  keys: 'stock' | 'latent' | 'rebuilt';
}

/** A normalisation: x over its root mean square, or x less its mean over its standard deviation. */
export interface NormShape {
  kind: 'rms' | 'layer';
  epsilon: number;
  /** Whether it carries a scale (OLMo 1: none). */
  weight: boolean;
  bias: boolean;
  /** True where the file holds the scale less one (Gemma). */
  unitOffset: boolean;
}

/** How a layer's attention knows the order of tokens. Learned positions are added to the embedding: 'none' here. */
export type PositionShape =
  | {
      kind: 'rope';
      rope: RopeParameters;
      /** Leading numbers of a head that rotate; the rest is left as it is (partial rotary). Even, at most headDim. */
      rotaryDim: number;
      /** Which two numbers of the rotated part are one pair: (j, j + rotaryDim / 2), or (2j, 2j + 1). */
      pairs: 'half-split' | 'interleaved';
    }
  | { kind: 'none' }
  | {
      kind: 'alibi';
      /** Added to a score: slope times (key position - query position). One a query head, of the whole model's heads. */
      slopes: readonly number[];
      /**
       * Where it is given, a score gets this factor times bfloat16(slope * key position) instead, the key position counted from 0:
       * Falcon rounds the product, whatever the type of its weights, and adds it before scores are scaled.
       */
      roundedScale?: number;
    };

/** What may differ from layer to layer. */
export interface LayerShape {
  cache: LayerCacheLayout;
  positions: PositionShape;
  /** Tokens that a query sees, its own included (sliding window); absent where it sees all. */
  window?: number;
}

/** What the attention of all layers has in common. */
export interface AttentionShape {
  /** True when the q, k and v projections carry biases (LLaMA's attention_bias, always in Qwen2). */
  inputBias: boolean;
  /** True when the output projection carries a bias (LLaMA's attention_bias, never in Qwen2). */
  outputBias: boolean;
  /** Factor of the products of queries and keys; 1/sqrt(headDim) in most families. */
  scoreScale: number;
  /** Scores s become cap * tanh(s / cap) before the mask (Gemma 2). */
  softCap?: number;
  /** Queries, keys and values are clipped to [-clip, clip] behind their projections (OLMo 1, MPT). */
  clip?: number;
  /**
   * Norm of queries and keys between projection and positions: of each 'head' with one scale for all (Qwen3, Gemma 3), of each
   * head with a scale of its own ('heads', StableLM), or over the whole 'projection' (OLMo 2).
   */
  queryKeyNorm?: NormShape & { over: 'head' | 'heads' | 'projection' };
}

export type Activation = 'silu' | 'gelu' | 'gelu_pytorch_tanh' | 'relu';

export interface FeedForwardShape {
  intermediateSize: number;
  /** act(gate x) * (up x), or act(up x) alone. */
  gated: boolean;
  activation: Activation;
  bias: boolean;
}

/** How the two blocks of a layer and their norms stand around the residual stream. */
export interface BlockShape {
  norm: NormShape;
  /** Norms of what the blocks read. 'shared': parallel blocks read one (GPT-J, Phi, Falcon-7B). */
  before: 'each' | 'shared' | 'none';
  /** Norms of what the blocks give ('branch': OLMo 2, Gemma 2 and 3), or of the sum with the stream ('stream': post-norm OPT). */
  after: 'none' | 'branch' | 'stream';
  /** True when both blocks read the same stream and are added together (GPT-NeoX, GPT-J, Phi). */
  parallel: boolean;
  /** What a block's result is added to: the stream, or what the block's norm makes of it ('normed': a setting of BLOOM). */
  residual: 'stream' | 'normed';
  /** Factor of what a block adds to the stream (Granite); 1 elsewhere. */
  residualScale: number;
}

export interface EmbeddingShape {
  /** Numbers of a token's embedding; projected to hiddenSize where it differs (OPT-350m). */
  width: number;
  /** Factor of the embedding (Gemma: sqrt(hiddenSize), Granite); 1 elsewhere. */
  scale: number;
  /** Norm behind the embedding (BLOOM). */
  norm?: NormShape;
  /** Learned positions, added to the embedding: row position + offset of a table of `count` rows (GPT-2, OPT). */
  learnedPositions?: { count: number; offset: number };
}

export interface HeadShape {
  /** True when the embedding serves as the head. */
  tied: boolean;
  bias: boolean;
  /** Norm of the stream before the head; absent in post-norm OPT. */
  norm?: NormShape;
  /** Factor of the logits (Cohere, Granite); 1 elsewhere. */
  scale: number;
  /** Logits l become cap * tanh(l / cap) (Gemma 2). */
  softCap?: number;
}

/**
 * The numbers that fix a decoder's computation, independent of file format. `decoderTensors` lists the tensors that follow.
 */
export interface DecoderShape {
  /** Identifier of the architecture descriptor, for example 'llama'. */
  architecture: string;
  numLayers: number;
  hiddenSize: number;
  vocabSize: number;
  /** Positions that it has; under dynamic RoPE those beyond the context of config.json too. */
  maxPositionEmbeddings: number;
  numAttentionHeads: number;
  /** Heads of the k and v projections per layer. Under latent keys the k projection keeps the source's count. */
  numKeyValueHeads: number;
  headDim: number;
  embedding: EmbeddingShape;
  attention: AttentionShape;
  feedForward: FeedForwardShape;
  blocks: BlockShape;
  layers: LayerShape[];
  head: HeadShape;
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

/**
 * Multiplications that attention takes for one token that reads one cached token, in all layers: of queries with keys and of weights
 * with values. Rebuilding keys is not in it.
 */
export function attentionProducts({ layers, numAttentionHeads, headDim }: DecoderShape): number {
  return layers.reduce((sum, { cache }) => {
    const keyWidth = cache.keys === 'rebuilt' ? headDim : cache.keySlotWidth;
    return sum + numAttentionHeads * (keyWidth + cache.valueSlotWidth);
  }, 0);
}

/** RoPE of a layer, where it has any. */
export function layerRope({ layers }: Pick<DecoderShape, 'layers'>, layer: number) {
  const { positions } = layers[layer]!;
  return positions.kind === 'rope' ? positions : undefined;
}

/** What makes a decoder of LLaMA's kind: RMSNorm before each block, rotary positions over whole heads, gated feed-forward. */
export interface LlamaShapeSettings {
  architecture?: string;
  numLayers: number;
  hiddenSize: number;
  intermediateSize: number;
  vocabSize: number;
  maxPositionEmbeddings: number;
  numAttentionHeads: number;
  numKeyValueHeads: number;
  headDim: number;
  rope: RopeParameters;
  normEpsilon?: number;
  activation?: Activation;
  tied?: boolean;
  inputBias?: boolean;
  outputBias?: boolean;
  feedForwardBias?: boolean;
}

/** The shape of a decoder of LLaMA's kind. */
export function llamaShape(settings: LlamaShapeSettings): DecoderShape {
  const { numLayers, hiddenSize, vocabSize, maxPositionEmbeddings, numAttentionHeads, numKeyValueHeads, headDim } =
    settings;
  const norm: NormShape = {
    kind: 'rms',
    epsilon: settings.normEpsilon ?? 1e-6,
    weight: true,
    bias: false,
    unitOffset: false,
  };
  return {
    architecture: settings.architecture ?? 'llama',
    ...{ numLayers, hiddenSize, vocabSize, maxPositionEmbeddings, numAttentionHeads, numKeyValueHeads, headDim },
    embedding: { width: hiddenSize, scale: 1 },
    attention: {
      inputBias: settings.inputBias ?? false,
      outputBias: settings.outputBias ?? false,
      scoreScale: 1 / Math.sqrt(headDim),
    },
    feedForward: {
      intermediateSize: settings.intermediateSize,
      gated: true,
      activation: settings.activation ?? 'silu',
      bias: settings.feedForwardBias ?? false,
    },
    blocks: { norm, before: 'each', after: 'none', parallel: false, residual: 'stream', residualScale: 1 },
    layers: Array.from({ length: numLayers }, () => ({
      cache: stockLayout(numKeyValueHeads, headDim),
      positions: { kind: 'rope', rope: settings.rope, rotaryDim: headDim, pairs: 'half-split' },
    })),
    head: { tied: settings.tied ?? false, bias: false, norm, scale: 1 },
  };
}
