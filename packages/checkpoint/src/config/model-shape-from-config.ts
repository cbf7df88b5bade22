import { type DecoderShape, KvlrError, stockLayout } from '@kvlr/core';
import { parseRopeParameters } from '@kvlr/rope';
import type { ArchitectureDescriptor, BiasRule, RefusedSetting } from '../architectures/architecture-descriptor.ts';
import { ConfigReader, malformedConfig, unsupportedConfig } from './config-reader.ts';
import { decodeNativeConfig, parseNativeLayers } from './native-config.ts';

const activations: Record<string, DecoderShape['hiddenActivation']> = {
  silu: 'silu',
  swish: 'silu',
  gelu: 'gelu',
  gelu_pytorch_tanh: 'gelu_pytorch_tanh',
  gelu_new: 'gelu_pytorch_tanh',
};

/**
 * The numbers of a model from its config.json, with the family's defaults for what is left out.
 * Throws 'file-malformed', 'heads-not-divisible' and 'unsupported-feature', naming the field.
 */
export function modelShapeFromConfig(
  config: Record<string, unknown>,
  descriptor: ArchitectureDescriptor,
): DecoderShape {
  const { config: stockConfig, rawLayers } = decodeNativeConfig(config);
  const reader = new ConfigReader(stockConfig);
  const { defaults, biases } = descriptor;
  const maxPositionEmbeddings = reader.count('max_position_embeddings', defaults.max_position_embeddings);
  refuseUnsupported(stockConfig, descriptor.refused, maxPositionEmbeddings);

  const numLayers = reader.count('num_hidden_layers');
  const heads = readHeads(reader);
  const hiddenActivation = stockConfig.hidden_act ?? defaults.hidden_act;
  if (typeof hiddenActivation !== 'string' || !Object.hasOwn(activations, hiddenActivation)) {
    throw unsupportedConfig('hidden_act', `known: ${Object.keys(activations).join(', ')}`, hiddenActivation);
  }
  const stock = Array.from({ length: numLayers }, () => stockLayout(heads.numKeyValueHeads, heads.headDim));
  return {
    architecture: descriptor.name,
    numLayers,
    ...heads,
    intermediateSize: reader.count('intermediate_size'),
    vocabSize: reader.count('vocab_size'),
    maxPositionEmbeddings,
    rmsNormEpsilon: reader.positive('rms_norm_eps', defaults.rms_norm_eps),
    hiddenActivation: activations[hiddenActivation]!,
    tieWordEmbeddings: reader.flag('tie_word_embeddings', defaults.tie_word_embeddings),
    attentionBias: readBias(reader, biases.attention),
    outputBias: readBias(reader, biases.output),
    mlpBias: readBias(reader, biases.feedForward),
    rope: parseRopeParameters(stockConfig),
    layers: rawLayers === undefined ? stock : parseNativeLayers(rawLayers, { numLayers, ...heads }),
  };
}

function readHeads(reader: ConfigReader) {
  const hiddenSize = reader.count('hidden_size');
  const numAttentionHeads = reader.count('num_attention_heads');
  const numKeyValueHeads = reader.count('num_key_value_heads', numAttentionHeads);
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw notDivisible('num_attention_heads', numAttentionHeads, 'num_key_value_heads', numKeyValueHeads);
  }
  const explicitHeadDim = reader.config.head_dim ?? undefined;
  if (explicitHeadDim === undefined && hiddenSize % numAttentionHeads !== 0) {
    throw notDivisible('hidden_size', hiddenSize, 'num_attention_heads', numAttentionHeads);
  }
  const headDim = explicitHeadDim === undefined ? hiddenSize / numAttentionHeads : reader.count('head_dim');
  if (headDim % 2 !== 0) throw malformedConfig('head_dim', 'even, as rotary positions turn pairs', headDim);
  return { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim };
}

function refuseUnsupported(config: Record<string, unknown>, refused: readonly RefusedSetting[], context: number): void {
  const { quantization_config: quantisation } = config;
  if (quantisation !== undefined && quantisation !== null) {
    throw unsupportedConfig('quantization_config', 'quantised weights', quantisation);
  }
  for (const { field, when, reason } of refused) {
    const value = config[field];
    const applies = when === 'true' ? value === true : typeof value === 'number' && value < context;
    if (applies) throw unsupportedConfig(field, reason, value);
  }
}

function readBias(reader: ConfigReader, rule: BiasRule): boolean {
  return 'always' in rule ? rule.always : reader.flag(rule.field, rule.default);
}

function notDivisible(field: string, value: number, divisorField: string, divisor: number): KvlrError {
  return new KvlrError('heads-not-divisible', {
    message: `modelShapeFromConfig: config.json: expected ${field} to be a multiple of ${divisorField}, got ${value} and ${divisor}`,
    hint: 'Take config.json from the same place as the weights.',
    data: { file: 'config.json', [field]: value, [divisorField]: divisor },
  });
}
