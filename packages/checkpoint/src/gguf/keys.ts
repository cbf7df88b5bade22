import { type DecoderShape, KvlrError } from '@kvlr/core';
import {
  type ArchitectureDescriptor,
  type GgufFamily,
  ggufKeys,
  type Setting,
  type ShapeRules,
} from '../architectures/architecture.ts';
import { encodeNativeConfig } from '../config/native.ts';
import { modelShapeFromConfig } from '../config/read-config.ts';
import { writeSetting } from '../config/settings.ts';
import type { GgufValue } from './format.ts';
import type { GgufMetadata, GgufMetadataValue } from './header.ts';
import { positionMetadata, type RopeFactors, ropeScalingFromGguf } from './rope.ts';

type Config = Record<string, unknown>;

/** llama.cpp's name for a LLaMA whose layers may differ in their heads. */
export const perLayerFamily: GgufFamily = { architecture: 'deci', rowOrder: 'interleaved', frequencyFactors: true };

/** Families whose models lie under another one's architecture, where their own shape asks for it. */
export const familiesOfArchitecture: Record<string, readonly string[]> = { llama: ['qwen2'], deci: ['llama', 'qwen2'] };

type KeyType = 'uint32' | 'float32' | 'bool';

/**
 * Keys of a GGUF file, behind the architecture's name: the setting of a family that they give, and the entry of a decoder's shape
 * that they stand for. Those in `ggufKeys` are read by some architectures only.
 */
const keys: readonly [
  key: string,
  type: KeyType,
  setting: (rules: ShapeRules) => Setting | undefined,
  value: (shape: DecoderShape) => number | boolean | undefined,
][] = [
  ['block_count', 'uint32', ({ size }) => size.numLayers, ({ numLayers }) => numLayers],
  ['context_length', 'uint32', ({ size }) => size.maxPositionEmbeddings, (shape) => shape.maxPositionEmbeddings],
  ['embedding_length', 'uint32', ({ size }) => size.hiddenSize, ({ hiddenSize }) => hiddenSize],
  [
    'feed_forward_length',
    'uint32',
    (rules) => rules.feedForward.intermediateSize,
    ({ feedForward }) => feedForward.intermediateSize,
  ],
  [
    'attention.head_count',
    'uint32',
    ({ size }) => size.numAttentionHeads,
    ({ numAttentionHeads }) => numAttentionHeads,
  ],
  [
    'attention.head_count_kv',
    'uint32',
    ({ size }) => size.numKeyValueHeads,
    ({ numKeyValueHeads }) => numKeyValueHeads,
  ],
  ['attention.key_length', 'uint32', ({ size }) => size.headDim, ({ headDim }) => headDim],
  ['attention.value_length', 'uint32', () => undefined, ({ headDim }) => headDim],
  [
    'attention.layer_norm_rms_epsilon',
    'float32',
    ({ norm }) => epsilon(norm, 'rms'),
    ({ blocks }) => epsilon(blocks.norm, 'rms'),
  ],
  [
    'attention.layer_norm_epsilon',
    'float32',
    ({ norm }) => epsilon(norm, 'layer'),
    ({ blocks }) => epsilon(blocks.norm, 'layer'),
  ],
  [
    'attention.sliding_window',
    'uint32',
    ({ window }) => window?.size,
    ({ layers }) => layers.find(({ window }) => window)?.window,
  ],
  ['attention.clamp_kqv', 'float32', ({ attention }) => attention?.clip, ({ attention }) => attention.clip],
  ['attention.scale', 'float32', ({ attention }) => attention?.scoreScale, ({ attention }) => attention.scoreScale],
  ['attn_logit_softcapping', 'float32', ({ attention }) => attention?.softCap, ({ attention }) => attention.softCap],
  ['final_logit_softcapping', 'float32', ({ head }) => head.softCap, ({ head }) => head.softCap],
  ['use_parallel_residual', 'bool', ({ blocks }) => blocks?.parallel, ({ blocks }) => blocks.parallel],
  ['embedding_scale', 'float32', ({ embedding }) => embedding?.scale, ({ embedding }) => embedding.scale],
  ['residual_scale', 'float32', ({ blocks }) => blocks?.residualScale, ({ blocks }) => blocks.residualScale],
  // Files hold what config.json holds, which Granite divides by and Cohere multiplies with.
  ['logit_scale', 'float32', ({ head }) => head.scale, ({ head }) => head.scale],
];

function epsilon<Value>(norm: { kind: string; epsilon: Value }, kind: 'rms' | 'layer'): Value | undefined {
  return norm.kind === kind ? norm.epsilon : undefined;
}

function keysOf({ keys: own = [] }: GgufFamily) {
  const ofSome: readonly string[] = ggufKeys;
  return keys.filter(([key]) => !ofSome.includes(key) || (own as readonly string[]).includes(key));
}

/** The power of a setting's field that is the entry of the shape: -1 for a divisor. */
function powerOf(setting: Setting | undefined): number {
  return typeof setting === 'object' && setting !== null && 'field' in setting ? (setting.power ?? 1) : 1;
}

/** What a GGUF file says of a decoder, besides the weights themselves. */
export interface GgufFacts {
  metadata: GgufMetadata;
  /** Whether there is a tensor of this name. */
  has(name: string): boolean;
  vocabSize: number;
  ropeFactors: RopeFactors;
}

/**
 * config.json of a model in a GGUF file, as a model of this family in Hugging Face form has it: what the keys say, what the
 * presence of tensors says, and for the rest the family's own defaults. `family` is that of the file, which may know the same
 * decoder under another name. Throws 'file-malformed' and 'unsupported-feature', naming the key.
 */
export function configFromGguf(facts: GgufFacts, descriptor: ArchitectureDescriptor, family: GgufFamily): Config {
  const { metadata, has } = facts;
  const { shape: rules } = descriptor;
  const { size, attention = {}, feedForward, blocks, positions, head } = rules;
  const config: Config = {
    ...{ architectures: [descriptor.className], model_type: descriptor.modelTypes[0] },
    ...family.config,
    ...(family.secondNorm && {
      [family.secondNorm.countField]: has(family.secondNorm.name.replace('{layer}', '0')) ? 2 : 1,
    }),
  };
  const read = (key: string) => metadata.get(`${family.architecture}.${key}`);
  const number = (key: string) => numberOf(read(key), `${family.architecture}.${key}`);
  for (const [key, type, setting] of keysOf(family)) {
    const value = type === 'bool' ? flagOf(read(key)) : number(key);
    const power = powerOf(setting(rules));
    const isScale = key === 'logit_scale' && typeof value === 'number';
    if (value !== undefined) writeSetting(config, setting(rules), isScale ? value ** power : value);
  }
  writeSetting(config, size.vocabSize, facts.vocabSize);
  const headCount = number('attention.head_count');
  const hiddenSize = number('embedding_length');
  if (headCount === undefined || hiddenSize === undefined) throw missingKey(family, 'attention.head_count');
  const headDim = number('attention.key_length') ?? hiddenSize / headCount;
  writeSetting(config, size.headDim, headDim);

  const ofLayer = (suffix: string) => has(`blk.0.${suffix}`);
  writeSetting(config, attention.inputBias, ofLayer('attn_q.bias') || ofLayer('attn_qkv.bias'));
  writeSetting(config, attention.outputBias, ofLayer('attn_output.bias'));
  writeSetting(config, attention.queryKeyNorm?.present, ofLayer('attn_q_norm.weight'));
  writeSetting(config, feedForward.bias, ofLayer('ffn_up.bias'));
  writeSetting(config, head.tied, !has('output.weight'));
  // A block without a norm of its own reads the attention's.
  if (typeof blocks?.before === 'object') writeSetting(config, blocks.parallel, !ofLayer('ffn_norm.weight'));
  if (family.layersScaledByWidth !== undefined) {
    const isWide = number('block_count') === family.layersScaledByWidth;
    writeSetting(config, attention.scoreScale, (isWide ? hiddenSize / headCount : headDim) ** -0.5);
  }
  if (positions.kind === 'rope') {
    const theta = number('rope.freq_base') ?? 10000;
    if (typeof positions.theta === 'object') writeSetting(config, positions.theta, theta);
    else config.rope_theta = theta;
    writeRotaryDim(config, positions, number('rope.dimension_count') ?? headDim, headDim);
    const rotaryDim = number('rope.dimension_count') ?? headDim;
    Object.assign(config, ropeScalingFromGguf({ read, number, theta, rotaryDim, factors: facts.ropeFactors }));
  }
  return withHeadsOfLayers(config, descriptor, read('attention.head_count_kv'));
}

function writeRotaryDim(config: Config, positions: ShapeRules['positions'], count: number, headDim: number): void {
  const share = count / headDim;
  // What is left of a product is dropped by the reader: it must not fall below the count.
  const safe = Math.floor(headDim * share) === count ? share : share + 1e-9;
  if (positions.rotaryDim !== undefined) writeSetting(config, positions.rotaryDim, count);
  else if (positions.rotaryShare !== undefined) writeSetting(config, positions.rotaryShare, safe);
  else if (share !== 1) config.partial_rotary_factor = share;
}

/** The config with the KV heads of each layer, where its family's configs cannot hold them. */
function withHeadsOfLayers(
  config: Config,
  descriptor: ArchitectureDescriptor,
  given: GgufMetadataValue | undefined,
): Config {
  const shape = modelShapeFromConfig(config, descriptor);
  const counts = shape.layers.map(
    (_, layer) => (Array.isArray(given) ? given[layer] : given) ?? shape.numKeyValueHeads,
  );
  if (counts.every((count, layer) => count === shape.layers[layer]!.cache.keySlots)) return config;
  const layers = shape.layers.map((layer, index) => {
    const heads = counts[index] as number;
    return { ...layer, cache: { ...layer.cache, keySlots: heads, valueSlots: heads } };
  });
  const first = counts[0] as number;
  const isUniform = counts.every((count) => count === first);
  return encodeNativeConfig(config, { ...shape, layers, ...(isUniform && { numKeyValueHeads: first }) }, shape);
}

/** Metadata of a decoder: sizes, heads, positions. KV heads are one number, or where layers differ a list. */
export function ggufShapeMetadata(
  shape: DecoderShape,
  { shape: rules }: ArchitectureDescriptor,
  family: GgufFamily,
): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  const set = (key: string, value: GgufValue) => metadata.set(`${family.architecture}.${key}`, value);
  for (const [key, type, setting, inShape] of keysOf(family)) {
    const value = inShape(shape);
    if (typeof value === 'boolean') set(key, { type: 'bool', value });
    else if (value !== undefined && type !== 'bool') {
      const power = key === 'logit_scale' ? powerOf(setting(rules)) : 1;
      set(key, { type, value: value ** (1 / power) });
    }
  }
  const heads = shape.layers.map(({ cache }) => cache.keySlots);
  if (new Set(heads).size > 1) {
    const every = (count: number) => heads.map(() => count);
    set('attention.head_count', { type: 'array', of: 'int32', value: every(shape.numAttentionHeads) });
    set('attention.head_count_kv', { type: 'array', of: 'int32', value: heads });
    set('feed_forward_length', { type: 'array', of: 'int32', value: every(shape.feedForward.intermediateSize) });
  }
  set('vocab_size', { type: 'uint32', value: shape.vocabSize });
  for (const [key, value] of positionMetadata(shape)) set(key, value);
  return metadata;
}

/** A number, or the one that all layers share. Numbers of 32 bits are taken as the decimals that were meant. */
function numberOf(value: GgufMetadataValue | undefined, key: string): number | undefined {
  if (value === undefined || typeof value === 'boolean') return undefined;
  if (typeof value === 'number') return decimal(value);
  if (Array.isArray(value) && typeof value[0] === 'number') {
    if (key.endsWith('head_count_kv') || value.every((entry) => entry === value[0])) return value[0];
    throw new KvlrError('unsupported-feature', {
      message: `expected the same number in every layer, got ${JSON.stringify(value).slice(0, 80)}`,
      hint: 'Layers that differ in more than their KV heads are not read.',
      where: { argument: key },
      data: { key, received: value },
    });
  }
  throw new KvlrError('file-malformed', {
    message: `expected a number, got ${typeof value}`,
    where: { argument: key },
    data: { key },
  });
}

function flagOf(value: GgufMetadataValue | undefined): boolean | undefined {
  return typeof value === 'boolean' ? value : undefined;
}

/** The shortest decimal that a float32 number stands for. */
function decimal(value: number): number {
  if (Number.isInteger(value)) return value;
  for (let digits = 1; digits < 9; digits++) {
    const rounded = Number(value.toPrecision(digits));
    if (Math.fround(rounded) === value) return rounded;
  }
  return value;
}

function missingKey({ architecture }: GgufFamily, key: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: 'expected this key, found none',
    hint: 'The file is incomplete: convert it anew.',
    where: { argument: `${architecture}.${key}` },
    data: { key },
  });
}
