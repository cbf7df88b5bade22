import { type DecoderShape, KvlrError } from '@kvlr/core';
import { formatRopeScaling } from '@kvlr/rope';
import type { ArchitectureDescriptor, ShapeRules } from '../architectures/architecture.ts';
import { beyondStock, decodeNativeConfig, encodeNativeConfig, hasOtherSlopes, uniformKeyValueHeads } from './native.ts';
import { trainedContext } from './positions.ts';
import { modelShapeFromConfig } from './read-config.ts';
import { writeSetting } from './settings.ts';

type Config = Record<string, unknown>;

/**
 * config.json for a model of this shape: the source's config with the fields that compression changes, or a whole config
 * when there is no source. A layout that the family's configs cannot express gets a `kvlr` section.
 * `dtype` is what transformers calls the type of the weights, for example 'float16'.
 * Throws 'unsupported-feature' where the family cannot express the shape's biases, or the width of its heads.
 */
export function configFromModelShape(
  shape: DecoderShape,
  descriptor: ArchitectureDescriptor,
  dtype: string,
  sourceConfig?: Config,
): Config {
  const config =
    sourceConfig === undefined ? freshConfig(shape, descriptor) : { ...decodeNativeConfig(sourceConfig).config };
  config['dtype' in config ? 'dtype' : 'torch_dtype'] = dtype;
  const { size, attention = {}, feedForward } = descriptor.shape;
  const uniformHeads = uniformKeyValueHeads(shape);
  const before = modelShapeFromConfig(config, descriptor);
  if (before.numKeyValueHeads !== (uniformHeads ?? shape.numKeyValueHeads)) {
    writeSetting(config, size.numKeyValueHeads, uniformHeads ?? shape.numKeyValueHeads);
  }
  if (before.attention.inputBias !== shape.attention.inputBias) {
    writeSetting(config, attention.inputBias, shape.attention.inputBias);
  }
  if (before.attention.outputBias !== shape.attention.outputBias) {
    writeSetting(config, attention.outputBias, shape.attention.outputBias);
  }
  if (before.feedForward.bias !== shape.feedForward.bias) {
    writeSetting(config, feedForward.bias, shape.feedForward.bias);
  }
  if (before.headDim !== shape.headDim) {
    requireWideHeads(descriptor);
    writeSetting(config, size.headDim, shape.headDim);
    writeRope(config, shape);
  }
  const written = modelShapeFromConfig(config, descriptor);
  requireBiases(shape, written, descriptor);
  const isStock =
    uniformHeads !== undefined && written.numKeyValueHeads === uniformHeads && !hasOrderOfItsOwn(shape, written);
  return isStock ? config : encodeNativeConfig(config, shape, written);
}

/**
 * Why a model of this shape is written in kvlr's own form; undefined where the family's own classes load it, in every engine
 * that has the family.
 */
export function nativeReason(
  shape: DecoderShape,
  descriptor: ArchitectureDescriptor,
  sourceConfig?: Config,
): string | undefined {
  const beyond = beyondStock(shape);
  if (beyond !== undefined) return beyond;
  if (uniformKeyValueHeads(shape) === undefined) return 'another number of KV heads in each layer';
  const config = configFromModelShape(shape, descriptor, 'float32', sourceConfig);
  if (config.model_type !== 'kvlr') return undefined;
  const written = modelShapeFromConfig(decodeNativeConfig(config).config, descriptor);
  return written.numKeyValueHeads === shape.numKeyValueHeads && hasOrderOfItsOwn(shape, written)
    ? 'query heads in an order of their own, which ALiBi tells apart'
    : `${descriptor.name} models hold as many KV heads as query heads`;
}

/** Whether query heads stand in another order than the family's, as ALiBi's slopes show. */
function hasOrderOfItsOwn(shape: DecoderShape, written: DecoderShape): boolean {
  return shape.layers.some(({ positions }, layer) => hasOtherSlopes(positions, written.layers[layer]!.positions));
}

function freshConfig(shape: DecoderShape, descriptor: ArchitectureDescriptor): Config {
  const config: Config = { architectures: [descriptor.className], model_type: descriptor.modelTypes[0] };
  const { size, norm, feedForward, head } = descriptor.shape;
  const sizes = { ...shape, maxPositionEmbeddings: trainedContext(shape) };
  for (const [name, setting] of Object.entries(size)) {
    writeSetting(config, setting, sizes[name as keyof ShapeRules['size']]);
  }
  writeSetting(config, norm.epsilon, shape.blocks.norm.epsilon);
  writeSetting(config, feedForward.intermediateSize, shape.feedForward.intermediateSize);
  writeSetting(config, feedForward.activation, shape.feedForward.activation);
  writeSetting(config, head.tied, shape.head.tied);
  writeRope(config, shape);
  return config;
}

/** RoPE of the first layer, in the spelling that the config has: `rope_parameters`, or `rope_theta` and `rope_scaling`. */
function writeRope(config: Config, { layers }: DecoderShape): void {
  const positions = layers[0]?.positions;
  if (positions?.kind !== 'rope') return;
  const scaling = formatRopeScaling(positions.rope);
  const { theta } = positions.rope;
  const given = config.rope_parameters;
  if (typeof given === 'object' && given !== null) {
    config.rope_parameters = { rope_theta: theta, ...(scaling ?? { rope_type: 'default' }) };
  } else {
    config.rope_theta = theta;
    config.rope_scaling = scaling;
  }
}

/**
 * Checks that the classes of a family load heads of another width than the source's: that they take head_dim from config.json, and
 * the frequencies of its pairs.
 *
 * @throws KvlrError 'unsupported-feature', naming the family.
 */
export function requireWideHeads({ name, wideHeads }: ArchitectureDescriptor): void {
  if (wideHeads) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected a family whose config.json gives the width of heads and the frequency of each pair, got ${name}`,
    hint: "Keep heads of the source's width.",
    data: { architecture: name },
  });
}

/** A family may always have a bias, or never, or have several under one flag. */
function requireBiases(wanted: DecoderShape, written: DecoderShape, { name }: ArchitectureDescriptor): void {
  const biases: [what: string, (shape: DecoderShape) => boolean][] = [
    ['biases on q, k and v', ({ attention }) => attention.inputBias],
    ['a bias on the output projection', ({ attention }) => attention.outputBias],
    ['biases in the feed-forward block', ({ feedForward }) => feedForward.bias],
  ];
  const [what, isThere] = biases.find(([, of]) => of(wanted) !== of(written)) ?? [];
  if (what === undefined || isThere === undefined) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected a model ${isThere(written) ? 'with' : 'without'} ${what}, as ${name} models have it, got one ${isThere(wanted) ? 'with' : 'without'}`,
    hint: 'Compress without centring, so that no bias is added.',
    data: { architecture: name, bias: what },
  });
}
