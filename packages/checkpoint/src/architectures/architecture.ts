import type { NormShape, TensorRole } from '@kvlr/core';

/** The roles whose tensors a family names; those of latent and rebuilt keys are kvlr's own. */
export type NamedTensorRole = Exclude<TensorRole, 'latentKeyEncoder' | 'latentQueryEncoder' | 'rebuiltKeyDecoder'>;

type Literal = string | number | boolean | null;

/** Numbers become `times * number ** power + plus`. */
interface Arithmetic {
  power?: number | undefined;
  times?: number | undefined;
  plus?: number | undefined;
}

/** Numbers of the shape that other entries may be computed from. */
export type NamedNumber =
  | 'numLayers'
  | 'hiddenSize'
  | 'maxPositionEmbeddings'
  | 'numAttentionHeads'
  | 'numKeyValueHeads'
  | 'headDim';

/**
 * Where an entry of a decoder's shape comes from:
 * a constant of the family; `field`, the first of these fields of config.json that is there and not null ('a.b' is field b of
 * the object a), else `default`, which null stands for none instead where the field is `nullable`; `of`, a number of the shape; `not`, the opposite of a flag; or one of two, by a condition.
 */
export type Setting =
  | Literal
  | ({ field: string | readonly string[]; default?: Setting | undefined; nullable?: boolean | undefined } & Arithmetic)
  | ({ of: NamedNumber } & Arithmetic)
  | { not: Setting }
  | { when: Setting; is?: Literal | undefined; use: Setting; otherwise: Setting };

/** A normalisation; what is left out is as in the family's `norm`. */
export interface NormRules {
  kind?: NormShape['kind'] | undefined;
  epsilon?: Setting | undefined;
  weight?: Setting | undefined;
  bias?: Setting | undefined;
  /** True where the file holds the scale less one. */
  unitOffset?: Setting | undefined;
}

/** How a family's config.json tells a `DecoderShape`. An entry that is left out has the value in brackets. */
export interface ShapeRules {
  size: {
    numLayers: Setting;
    hiddenSize: Setting;
    vocabSize: Setting;
    maxPositionEmbeddings: Setting;
    numAttentionHeads: Setting;
    /**
     * [as many as query heads] Where no field tells it, the family's classes hold no fewer KV heads than they had, and a model
     * with fewer is written in kvlr's own form.
     */
    numKeyValueHeads?: Setting | undefined;
    /** [hiddenSize / numAttentionHeads] */
    headDim?: Setting | undefined;
  };
  /** The norm that blocks, head and embedding have in common. [weight, no bias] */
  norm: NormRules & { kind: NormShape['kind']; epsilon: Setting };
  embedding?: {
    /** [hiddenSize] */
    width?: Setting | undefined;
    /** [1] */
    scale?: Setting | undefined;
    /** Whether a norm follows the embedding. [false] */
    norm?: Setting | undefined;
    learnedPositions?: { count: Setting; offset: number } | undefined;
  };
  attention?: {
    /** [false] */
    inputBias?: Setting | undefined;
    /** [false] */
    outputBias?: Setting | undefined;
    /** [1 / sqrt(headDim)] */
    scoreScale?: Setting | undefined;
    /** [none] */
    softCap?: Setting | undefined;
    /** [none] */
    clip?: Setting | undefined;
    /** Norm of queries and keys; `present` says whether there is one. [none] */
    queryKeyNorm?: (NormRules & { over: 'head' | 'heads' | 'projection'; present?: Setting | undefined }) | undefined;
  };
  feedForward: {
    intermediateSize: Setting;
    /** [true] */
    gated?: Setting | undefined;
    activation: Setting;
    /** [false] */
    bias?: Setting | undefined;
  };
  blocks?: {
    /** ['each'] */
    before?: Setting | undefined;
    /** ['none'] */
    after?: Setting | undefined;
    /** [false] */
    parallel?: Setting | undefined;
    /** ['stream'] */
    residual?: Setting | undefined;
    /** [1] */
    residualScale?: Setting | undefined;
  };
  positions: {
    /** 'rope', 'alibi' or 'none'. */
    kind: Setting;
    /** Base of RoPE's frequencies, where `rope_parameters` has none. [rope_theta, or 10000] */
    theta?: Setting | undefined;
    /** Base in the layers with a window, which then have plain RoPE (Gemma 3). [as in the others] */
    windowTheta?: Setting | undefined;
    /** Share of a head that rotates, where `rope_parameters` has none, or `rotaryDim` numbers of it. [1] */
    rotaryShare?: Setting | undefined;
    rotaryDim?: Setting | undefined;
    /** ['half-split'] */
    pairs?: 'half-split' | 'interleaved' | undefined;
    /** Layers without positions: where this field, a list of one number a layer, holds 0; without the list every n-th. */
    without?: { field: string; every: Setting } | undefined;
    /** How ALiBi's slopes follow from the number of heads. */
    slopes?: 'bloom' | 'mpt' | 'falcon' | undefined;
  };
  /** Sliding windows. [none] */
  window?:
    | {
        /** Tokens; null for none. */
        size: Setting;
        /** Layers below this number see everything. [0] */
        from?: Setting | undefined;
        /** Every n-th layer sees everything. [none does] */
        fullEvery?: Setting | undefined;
      }
    | undefined;
  head: {
    tied: Setting;
    /** [false] */
    bias?: Setting | undefined;
    /** Whether a norm stands before the head. [true] */
    norm?: Setting | undefined;
    /** [1] */
    scale?: Setting | undefined;
    /** [none] */
    softCap?: Setting | undefined;
  };
}

/** A setting of config.json under which this family computes something that kvlr does not. */
export interface RefusedSetting {
  field: string;
  /** Values under which it does not; a field that is absent or null never does. */
  unless?: readonly Literal[] | undefined;
  /** Numbers from this on under which it does not. */
  atLeast?: NamedNumber | undefined;
  /** What the setting stands for, for the error message. */
  reason: string;
}

/**
 * Names of one tensor, the first that is in the file; '{layer}' is the layer's number, '{prefix}' one of the family's prefixes. With
 * '{head}', the head's number, each head's rows lie in a tensor of their own.
 */
export type TensorNames = string | readonly string[];

/** Several tensors stored as one, output rows on output rows. Biases lie fused in the same way. */
export interface FusedTensor {
  name: TensorNames;
  /** Weights, in their order in the file. */
  roles: readonly NamedTensorRole[];
  /** 'parts': one whole tensor after another. 'heads': for each KV head its part of the first, of the second, and so on. */
  order: 'parts' | 'heads';
  /** True where the file holds [in, out]. */
  transposed?: boolean | undefined;
}

/** What some of llama.cpp's architectures read from a GGUF file and others do not, by the key behind the architecture's name. */
export const ggufKeys = [
  'attention.sliding_window',
  'attention.clamp_kqv',
  'attention.scale',
  'attn_logit_softcapping',
  'final_logit_softcapping',
  'use_parallel_residual',
  'embedding_scale',
  'residual_scale',
  'logit_scale',
] as const;

/**
 * How llama.cpp knows a family. Which key and which tensor of a GGUF file stand for what is the same for all families; what a
 * file does not say is as in the family's own defaults.
 */
export interface GgufFamily {
  /** general.architecture of the file. */
  architecture: string;
  /** Whether the two rows that rotary positions rotate together lie side by side or half a head apart. */
  rowOrder: 'interleaved' | 'half-split';
  /** Whether it reads a correction of each frequency from rope_freqs.weight. */
  frequencyFactors?: boolean | undefined;
  /** Keys that it reads besides those of every architecture. */
  keys?: readonly (typeof ggufKeys)[number][] | undefined;
  /** Projections that its files hold as one: q, k and v; gate and up. */
  fused?: readonly ('attn_qkv' | 'ffn_up')[] | undefined;
  /** What config.json says of all models in such files. */
  config?: Readonly<Record<string, unknown>> | undefined;
  /** For families whose blocks have one norm, or one each: attn_norm is the one of both, or then the feed-forward's (Falcon). */
  secondNorm?: SecondNorm | undefined;
  /** Number of layers at which its scores are scaled by the width of the model over the number of heads (Gemma's 27B models). */
  layersScaledByWidth?: number | undefined;
}

interface SecondNorm {
  /** Of the attention's own norm in GGUF files. */
  name: string;
  /** The field of config.json that counts the norms. */
  countField: string;
  /** What the norms are called in checkpoints that have both: parts of their names. */
  namesOfBoth: readonly string[];
}

/** A model family as data: how its config.json tells the decoder's shape, and where its tensors lie. */
export interface ArchitectureDescriptor {
  /** Name of the family, `DecoderShape.architecture`. */
  name: string;
  /** Values of model_type in config.json. */
  modelTypes: readonly string[];
  /** Class name that transformers gives the model, for configs written from scratch. */
  className: string;
  shape: ShapeRules;
  refused: readonly RefusedSetting[];
  /** What stands for '{prefix}' in names: some files of a family leave it out. */
  prefixes?: readonly string[] | undefined;
  /**
   * Name of the tensor in each role. A bias is named after its weight ('.bias' for '.weight') unless it is named itself.
   * `transposed`: the file holds [in, out].
   */
  tensors: Readonly<Partial<Record<NamedTensorRole, TensorNames | { name: TensorNames; transposed: true }>>>;
  fused: readonly FusedTensor[];
  /** How llama.cpp knows the family; absent where it does not. */
  gguf?: GgufFamily | undefined;
  /**
   * Whether its classes take the width of heads from config.json whatever the hidden size, scale scores by it, and take RoPE of type
   * longrope for whole heads, so that compression may widen them.
   */
  wideHeads?: boolean | undefined;
}

type OrNone<Entries> = { [Entry in keyof Entries]?: Entries[Entry] | null };

/** A description of a family that gives only what differs from another one, entry by entry; null where that has something. */
export type PartialArchitecture = Partial<Omit<ArchitectureDescriptor, 'shape' | 'tensors' | 'gguf'>> & {
  like?: string | undefined;
  shape?: OrNone<{ [Part in keyof ShapeRules]: Partial<NonNullable<ShapeRules[Part]>> }> | undefined;
  tensors?: OrNone<ArchitectureDescriptor['tensors']> | undefined;
  gguf?: GgufFamily | null | undefined;
};

/** A family whose description gives only what differs from `base`. A role that is named anew leaves the base's fused tensors. */
export function extendArchitecture(base: ArchitectureDescriptor, given: PartialArchitecture): ArchitectureDescriptor {
  const { like: _, gguf = base.gguf, ...own } = given;
  const fusedAnew = (own.fused ?? []).flatMap(({ roles }) => roles);
  const namedAnew = [...Object.keys(own.tensors ?? {}), ...fusedAnew];
  const keptTensors = Object.entries(base.tensors).filter(([role]) => !(fusedAnew as string[]).includes(role));
  const parts = Object.keys({ ...base.shape, ...own.shape }) as (keyof ShapeRules)[];
  const shape = parts
    .filter((part) => own.shape?.[part] !== null)
    .map((part) => [part, { ...base.shape[part], ...own.shape?.[part] }] as const);
  const tensors = Object.entries({ ...Object.fromEntries(keptTensors), ...own.tensors });
  const { gguf: __, ...inherited } = base;
  return {
    ...inherited,
    ...own,
    shape: Object.fromEntries(shape) as unknown as ShapeRules,
    refused: own.refused ?? base.refused,
    tensors: Object.fromEntries(tensors.filter(([, name]) => name !== null)),
    ...(gguf && { gguf }),
    fused: [...base.fused.filter(({ roles }) => !roles.some((role) => namedAnew.includes(role))), ...(own.fused ?? [])],
  };
}
