import {
  type Activation,
  type BlockShape,
  type DecoderShape,
  KvlrError,
  type LayerCacheLayout,
  type NormShape,
  stockLayout,
} from '@kvlr/core';
import type { ArchitectureDescriptor, NormRules, ShapeRules } from '../architectures/architecture.ts';
import { decodeNativeConfig, nativePositions, parseNativeLayers, uniformHeads } from './native.ts';
import { contextOf, layerPositions, layerWindows } from './positions.ts';
import { ConfigReader, fieldOf, malformedConfig, unsupportedConfig } from './settings.ts';

const activations: Record<string, Activation> = {
  silu: 'silu',
  swish: 'silu',
  relu: 'relu',
  gelu: 'gelu',
  gelu_pytorch_tanh: 'gelu_pytorch_tanh',
  gelu_new: 'gelu_pytorch_tanh',
  gelu_fast: 'gelu_pytorch_tanh',
};
/** What a config.json may claim before memory and time are taken for it: several times the layers of any model that was published. */
const configLimits = { layers: 1000 } as const;

const normsBefore: Record<string, BlockShape['before']> = { each: 'each', shared: 'shared', none: 'none' };
const residuals: Record<string, BlockShape['residual']> = { stream: 'stream', normed: 'normed' };
const normsAfter: Record<string, BlockShape['after']> = { none: 'none', branch: 'branch', stream: 'stream' };

/**
 * The shape of a decoder from its config.json, by the rules of its family, with the family's defaults for what is left out.
 * Throws 'file-malformed', 'heads-not-divisible' and 'unsupported-feature', naming the field.
 */
export function modelShapeFromConfig(
  config: Record<string, unknown>,
  descriptor: ArchitectureDescriptor,
): DecoderShape {
  const { config: stockConfig, rawLayers, numKeyValueHeads } = decodeNativeConfig(config);
  const { shape: rules } = descriptor;
  const reader = new ConfigReader(stockConfig);
  const numLayers = reader.size('numLayers', rules.size.numLayers, configLimits.layers);
  const hiddenSize = reader.size('hiddenSize', rules.size.hiddenSize);
  const vocabSize = reader.count(rules.size.vocabSize);
  const trained = reader.size('maxPositionEmbeddings', rules.size.maxPositionEmbeddings);
  refuseUnsupported(reader, descriptor);
  const heads = readHeads(reader, rules, hiddenSize, numKeyValueHeads);
  const { headDim } = heads;
  const norm = readNorm(reader, rules.norm, rules.norm);
  const { embedding = {}, attention = {}, feedForward, blocks = {}, head } = rules;
  const layouts = readLayouts(rawLayers, { numLayers, ...heads });
  const windows = layerWindows(reader, rules.window, numLayers);
  const positions = layerPositions(reader, rules.positions, { numLayers, ...heads, windows });
  const { queryKeyNorm: normOfHeads, ...attentionRules } = attention;
  return {
    architecture: descriptor.name,
    ...{ numLayers, hiddenSize, vocabSize, maxPositionEmbeddings: contextOf(trained, positions), ...heads },
    numKeyValueHeads: uniformHeads(layouts, headDim) ?? heads.numKeyValueHeads,
    embedding: {
      width: reader.optional(embedding.width) ?? hiddenSize,
      scale: reader.positive(embedding.scale ?? 1),
      ...(reader.flag(embedding.norm ?? false) && { norm }),
      ...(embedding.learnedPositions && {
        learnedPositions: {
          count: reader.count(embedding.learnedPositions.count),
          offset: embedding.learnedPositions.offset,
        },
      }),
    },
    attention: {
      inputBias: reader.flag(attentionRules.inputBias ?? false),
      outputBias: reader.flag(attentionRules.outputBias ?? false),
      scoreScale: reader.optional(attentionRules.scoreScale) ?? 1 / Math.sqrt(headDim),
      ...optionalEntry('softCap', reader.optional(attentionRules.softCap)),
      ...optionalEntry('clip', reader.optional(attentionRules.clip)),
      ...(normOfHeads &&
        reader.flag(normOfHeads.present ?? true) && {
          queryKeyNorm: { ...readNorm(reader, normOfHeads, rules.norm), over: normOfHeads.over },
        }),
    },
    feedForward: {
      intermediateSize: reader.count(feedForward.intermediateSize),
      gated: reader.flag(feedForward.gated ?? true),
      activation: reader.choice(feedForward.activation, activations),
      bias: reader.flag(feedForward.bias ?? false),
    },
    blocks: {
      norm,
      before: reader.choice(blocks.before ?? 'each', normsBefore),
      after: reader.choice(blocks.after ?? 'none', normsAfter),
      parallel: reader.flag(blocks.parallel ?? false),
      residual: reader.choice(blocks.residual ?? 'stream', residuals),
      residualScale: reader.positive(blocks.residualScale ?? 1),
    },
    layers: layouts.map((cache, layer) => ({
      cache,
      positions: nativePositions(rawLayers?.[layer], positions[layer]!, `kvlr.layers[${layer}]`),
      ...optionalEntry('window', windows[layer]),
    })),
    head: {
      tied: reader.flag(head.tied),
      bias: reader.flag(head.bias ?? false),
      ...(reader.flag(head.norm ?? true) && { norm }),
      scale: reader.positive(head.scale ?? 1),
      ...optionalEntry('softCap', reader.optional(head.softCap)),
    },
  };
}

function optionalEntry<Name extends string>(name: Name, value: number | undefined): { [Key in Name]?: number } {
  return value === undefined ? {} : ({ [name]: value } as { [Key in Name]: number });
}

function readNorm(reader: ConfigReader, rules: NormRules, usual: ShapeRules['norm']): NormShape {
  return {
    kind: rules.kind ?? usual.kind,
    epsilon: reader.positive(rules.epsilon ?? usual.epsilon),
    weight: reader.flag(rules.weight ?? usual.weight ?? true),
    bias: reader.flag(rules.bias ?? usual.bias ?? false),
    unitOffset: reader.flag(rules.unitOffset ?? usual.unitOffset ?? false),
  };
}

function readHeads(reader: ConfigReader, { size, positions }: ShapeRules, hiddenSize: number, stated?: number) {
  const numAttentionHeads = reader.size('numAttentionHeads', size.numAttentionHeads);
  const keyValueHeads = stated ?? size.numKeyValueHeads ?? { of: 'numAttentionHeads' };
  const numKeyValueHeads = reader.size('numKeyValueHeads', keyValueHeads);
  const { fields } = reader;
  if (numAttentionHeads % numKeyValueHeads !== 0) {
    throw notDivisible(fields.numAttentionHeads!, numAttentionHeads, fields.numKeyValueHeads!, numKeyValueHeads);
  }
  const given = reader.optional(size.headDim);
  if (given === undefined && hiddenSize % numAttentionHeads !== 0) {
    throw notDivisible(fields.hiddenSize!, hiddenSize, fields.numAttentionHeads!, numAttentionHeads);
  }
  const headDim = reader.size('headDim', given === undefined ? hiddenSize / numAttentionHeads : size.headDim!);
  if (headDim % 2 !== 0 && positions.kind === 'rope') {
    const field = given === undefined ? 'head_dim' : fields.headDim!;
    throw malformedConfig(field, 'an even number, as rotary positions rotate pairs', headDim);
  }
  return { numAttentionHeads, numKeyValueHeads, headDim };
}

function readLayouts(
  rawLayers: readonly unknown[] | undefined,
  shape: Pick<DecoderShape, 'numLayers' | 'numAttentionHeads' | 'numKeyValueHeads' | 'headDim'>,
): LayerCacheLayout[] {
  if (rawLayers !== undefined) return parseNativeLayers(rawLayers, shape);
  return Array.from({ length: shape.numLayers }, () => stockLayout(shape.numKeyValueHeads, shape.headDim));
}

function refuseUnsupported(reader: ConfigReader, { refused }: ArchitectureDescriptor): void {
  // The second is MLX's name.
  for (const field of ['quantization_config', 'quantization']) {
    const quantisation = fieldOf(reader.config, field);
    if (quantisation !== undefined) throw unsupportedConfig(field, 'quantised weights', quantisation);
  }
  for (const { field, unless, atLeast, reason } of refused) {
    const value = fieldOf(reader.config, field);
    if (value === undefined || unless?.some((harmless) => harmless === value)) continue;
    if (atLeast !== undefined && !(typeof value === 'number' && value < reader.numbers[atLeast]!)) continue;
    throw unsupportedConfig(field, reason, value);
  }
}

function notDivisible(field: string, value: number, divisorField: string, divisor: number): KvlrError {
  return new KvlrError('heads-not-divisible', {
    message: `expected a multiple of ${divisorField}, got ${value} and ${divisor}`,
    hint: 'Take config.json from the same place as the weights.',
    where: { file: 'config.json', argument: field },
    data: { file: 'config.json', [field]: value, [divisorField]: divisor },
  });
}
