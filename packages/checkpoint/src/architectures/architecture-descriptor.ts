import type { TensorRole } from '@kvlr/core';
import type { LatentTensorRole } from './latent-tensor-names.ts';

/** The roles whose names a family chooses; the tensors of latent and rebuilt keys are kvlr's own. */
export type NamedTensorRole = Exclude<TensorRole, LatentTensorRole>;

/** Whether a kind of bias is there: fixed by the family, or told by a field of config.json. */
export type BiasRule = { always: boolean } | { field: string; default: boolean };

/** A setting of config.json under which this family computes something that kvlr does not. */
export interface RefusedSetting {
  field: string;
  /** 'true': the field is true. 'shorter-than-context': the field is a number below max_position_embeddings. */
  when: 'true' | 'shorter-than-context';
  /** What the setting stands for, for the error message. */
  reason: string;
}

export interface GgufFamily {
  /** general.architecture of the GGUF file. */
  architecture: string;
  /** Whether the two rows that rotary positions turn together lie side by side or half a head apart. */
  rowOrder: 'interleaved' | 'half-split';
  /** Whether the engine reads a correction of each frequency from rope_freqs.weight. */
  frequencyFactors: boolean;
}

/**
 * A model family as data. Every family named this way is the same decoder: RMSNorm before each block, rotary positions in
 * the half-split layout, grouped-query attention, gated feed-forward. They differ in names, biases and defaults.
 */
export interface ArchitectureDescriptor {
  /** Name of the family, `DecoderShape.architecture`. */
  name: string;
  /** Values of model_type in config.json. */
  modelTypes: string[];
  /** Class name that transformers gives the model, for configs written from scratch. */
  className: string;
  biases: { attention: BiasRule; output: BiasRule; feedForward: BiasRule };
  /** What transformers assumes for fields that config.json leaves out. */
  defaults: { rms_norm_eps: number; max_position_embeddings: number; hidden_act: string; tie_word_embeddings: boolean };
  refused: RefusedSetting[];
  /** How llama.cpp knows the family; absent where it does not. */
  gguf?: GgufFamily;
  /** Name of the tensor in each role; `{layer}` stands for the layer's number. */
  tensors: Record<NamedTensorRole, string>;
}
