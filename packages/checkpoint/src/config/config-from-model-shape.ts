import { type DecoderShape, KvlrError } from '@kvlr/core';
import type { ArchitectureDescriptor, BiasRule } from '../architectures/architecture-descriptor.ts';
import { decodeNativeConfig, encodeNativeConfig } from './native-config.ts';
import { uniformKeyValueHeads } from './uniform-key-value-heads.ts';

/**
 * config.json for a model of this shape: the source's config with the fields that compression changes, or a whole config
 * when there is no source. A layout that Hugging Face configs cannot express gets a `kvlr` section.
 * `dtype` is what transformers calls the type of the weights, for example 'float16'.
 */
export function configFromModelShape(
  shape: DecoderShape,
  descriptor: ArchitectureDescriptor,
  dtype: string,
  sourceConfig?: Record<string, unknown>,
): Record<string, unknown> {
  const source = sourceConfig === undefined ? freshConfig(shape, descriptor) : decodeNativeConfig(sourceConfig).config;
  const uniformHeads = uniformKeyValueHeads(shape);
  const config: Record<string, unknown> = {
    ...source,
    num_key_value_heads: uniformHeads ?? shape.numKeyValueHeads,
    ['dtype' in source ? 'dtype' : 'torch_dtype']: dtype,
  };
  setBias(config, descriptor, descriptor.biases.attention, shape.attentionBias, 'biases on q, k and v');
  setBias(config, descriptor, descriptor.biases.output, shape.outputBias, 'a bias on the output projection');
  setBias(config, descriptor, descriptor.biases.feedForward, shape.mlpBias, 'biases in the feed-forward block');
  return uniformHeads === undefined ? encodeNativeConfig(config, shape.layers) : config;
}

function freshConfig(shape: DecoderShape, descriptor: ArchitectureDescriptor): Record<string, unknown> {
  return {
    architectures: [descriptor.className],
    model_type: descriptor.modelTypes[0],
    hidden_size: shape.hiddenSize,
    intermediate_size: shape.intermediateSize,
    num_hidden_layers: shape.numLayers,
    num_attention_heads: shape.numAttentionHeads,
    head_dim: shape.headDim,
    hidden_act: shape.hiddenActivation,
    max_position_embeddings: shape.maxPositionEmbeddings,
    rms_norm_eps: shape.rmsNormEpsilon,
    rope_theta: shape.rope.theta,
    rope_scaling: ropeScaling(shape),
    tie_word_embeddings: shape.tieWordEmbeddings,
    vocab_size: shape.vocabSize,
  };
}

function ropeScaling({ rope }: DecoderShape): Record<string, unknown> | null {
  if (rope.type === 'default') return null;
  if (rope.type === 'linear') return { rope_type: 'linear', factor: rope.factor };
  return {
    rope_type: 'llama3',
    factor: rope.factor,
    low_freq_factor: rope.lowFrequencyFactor,
    high_freq_factor: rope.highFrequencyFactor,
    original_max_position_embeddings: rope.originalMaxPositionEmbeddings,
  };
}

function setBias(
  config: Record<string, unknown>,
  descriptor: ArchitectureDescriptor,
  rule: BiasRule,
  present: boolean,
  what: string,
): void {
  const expressed = 'always' in rule ? rule.always : ((config[rule.field] ?? rule.default) as boolean);
  if (expressed === present) return;
  if ('always' in rule) {
    throw new KvlrError('unsupported-feature', {
      message: `configFromModelShape: ${descriptor.name} models ${rule.always ? 'always' : 'never'} have ${what}, got a model ${present ? 'with' : 'without'}`,
      hint: 'Compress without centring, so that no bias is added.',
      data: { architecture: descriptor.name, bias: what },
    });
  }
  config[rule.field] = present;
}
