import { type DecoderShape, type LayerShape, type PositionShape, roundToBfloat16, withPlace } from '@kvlr/core';
import { parseRopeParameters } from '@kvlr/rope';
import type { ShapeRules } from '../architectures/architecture.ts';
import { type ConfigReader, fieldOf, malformedConfig, unsupportedConfig } from './settings.ts';

type Window = LayerShape['window'];

/**
 * Attention windows by layer: what `layer_types` says where it stands, else the family's pattern. A window as long as the context
 * hides nothing, and counts as none.
 */
export function layerWindows(reader: ConfigReader, rules: ShapeRules['window'], numLayers: number): Window[] {
  const size = rules === undefined ? undefined : reader.optional(rules.size);
  const hidesNothing = size === undefined || size >= reader.numbers.maxPositionEmbeddings!;
  if (rules === undefined || hidesNothing) return Array.from({ length: numLayers }, () => undefined);
  const types = layerTypes(reader, numLayers);
  const from = reader.count(rules.from ?? 0, 0);
  const fullEvery = reader.optional(rules.fullEvery);
  return Array.from({ length: numLayers }, (_, layer) => {
    const isFull = fullEvery !== undefined && (layer + 1) % fullEvery === 0;
    const hasWindow = types === undefined ? layer >= from && !isFull : types[layer] === 'sliding_attention';
    return hasWindow ? size : undefined;
  });
}

function layerTypes(reader: ConfigReader, numLayers: number): string[] | undefined {
  const types = fieldOf(reader.config, 'layer_types');
  if (types === undefined) return undefined;
  const known = ['full_attention', 'sliding_attention'];
  if (Array.isArray(types) && types.length === numLayers && types.every((type) => known.includes(type))) return types;
  throw malformedConfig('layer_types', `a list of ${numLayers} of ${known.join(' and ')}`, types);
}

/** How each layer knows the order of tokens. */
export function layerPositions(
  reader: ConfigReader,
  rules: ShapeRules['positions'],
  shape: { numLayers: number; numAttentionHeads: number; headDim: number; windows: readonly Window[] },
): PositionShape[] {
  const kind = reader.choice(rules.kind, { rope: 'rope', alibi: 'alibi', none: 'none' } as const);
  const { numLayers, numAttentionHeads, headDim, windows } = shape;
  const every = <Value>(value: (layer: number) => Value): Value[] =>
    Array.from({ length: numLayers }, (_, layer) => value(layer));
  if (kind === 'none') return every(() => ({ kind }));
  if (kind === 'alibi') {
    const { slopes: rule = 'bloom' } = rules;
    // As transformers' sdpa attention, its default, computes Falcon; its eager attention adds the same numbers twice, to the mask
    // and to the scores.
    const slopes = alibiSlopes(rule, numAttentionHeads);
    const rounded = { slopes: slopes.map(roundToBfloat16), roundedScale: 1 / Math.sqrt(headDim) };
    return every(() => ({ kind, ...(rule === 'falcon' ? rounded : { slopes }) }));
  }
  const isWithout = layersWithout(reader, rules.without);
  const full = ropeOf(reader, rules, headDim, 'full_attention');
  const hasWindows = windows.some((window) => window !== undefined);
  const windowed = hasWindows ? ropeOf(reader, rules, headDim, 'sliding_attention') : full;
  return every((layer) => (isWithout(layer) ? { kind: 'none' } : windows[layer] === undefined ? full : windowed));
}

/**
 * Positions that a model whose config.json gives it this context has. Under dynamic RoPE that is the context of its training, and
 * frequencies go with texts up to `factor` times as long.
 */
export function contextOf(trained: number, positions: readonly PositionShape[]): number {
  return Math.max(trained, ...positions.map((one) => Math.floor(trained * (dynamicRope(one)?.factor ?? 1))));
}

/** The context that config.json gives a model of this shape: the other way of `contextOf`. */
export function trainedContext({ maxPositionEmbeddings, layers }: DecoderShape): number {
  const dynamic = layers.map(({ positions }) => dynamicRope(positions)).find((rope) => rope !== undefined);
  return dynamic?.originalMaxPositionEmbeddings ?? maxPositionEmbeddings;
}

function dynamicRope(positions: PositionShape) {
  if (positions.kind !== 'rope' || positions.rope.type !== 'dynamic') return undefined;
  return positions.rope;
}

/** RoPE of a type of layer. What a family names or assumes otherwise is put where the parser looks for it. */
function ropeOf(
  reader: ConfigReader,
  rules: ShapeRules['positions'],
  headDim: number,
  layerType: string,
): PositionShape {
  const { theta, windowTheta, pairs = 'half-split' } = rules;
  const config = {
    ...reader.config,
    ...(theta !== undefined && { rope_theta: reader.positive(theta) }),
    ...(windowTheta !== undefined && { rope_local_base_freq: reader.positive(windowTheta) }),
  };
  try {
    const rope = parseRopeParameters(config, layerType);
    return { kind: 'rope', rope, rotaryDim: readRotaryDim(reader, rules, headDim), pairs };
  } catch (error) {
    throw withPlace(error, { file: 'config.json' });
  }
}

/** Leading numbers of a head that rotate: told as a number, or as a share of the head, of which a fraction is dropped. */
function readRotaryDim(reader: ConfigReader, rules: ShapeRules['positions'], headDim: number): number {
  const { rotaryDim, rotaryShare } = rules;
  if (rotaryDim === undefined && rotaryShare === undefined) {
    const field = 'partial_rotary_factor';
    const share = fieldOf(reader.config, `rope_parameters.${field}`) ?? fieldOf(reader.config, field) ?? 1;
    if (share !== 1) throw unsupportedConfig(field, 'rotary positions on a part of the head', share);
  }
  const count = reader.optional(rotaryDim) ?? Math.floor(headDim * (reader.optional(rotaryShare) ?? 1));
  if (count >= 2 && count <= headDim && count % 2 === 0) return count;
  throw malformedConfig('partial_rotary_factor', `an even part of a head of ${headDim}`, count);
}

/** Which layers have no positions. */
function layersWithout(reader: ConfigReader, rules: ShapeRules['positions']['without']): (layer: number) => boolean {
  if (rules === undefined) return () => false;
  const list = fieldOf(reader.config, rules.field);
  if (list === undefined) {
    const every = reader.count(rules.every);
    return (layer) => (layer + 1) % every === 0;
  }
  const { numLayers } = reader.numbers;
  if (!Array.isArray(list) || list.length !== numLayers || list.some((entry) => entry !== 0 && entry !== 1)) {
    throw malformedConfig(rules.field, `a list of ${numLayers} of 0 and 1`, list);
  }
  return (layer) => list[layer] === 0;
}

/**
 * Slopes of ALiBi, arXiv:2108.12409: powers of 2^(-8/n) for the largest power of two n that is no larger than the number of
 * heads; the heads beyond take every other power of 2^(-4/n). MPT takes the powers of 2^(-8/n) for the next power of two n,
 * every other one first.
 */
export function alibiSlopes(kind: NonNullable<ShapeRules['positions']['slopes']>, numHeads: number): number[] {
  const powers = (count: number, exponent: number) =>
    Array.from({ length: count }, (_, i) => 2 ** (-exponent * (i + 1)));
  if (kind === 'mpt') {
    const count = 2 ** Math.ceil(Math.log2(numHeads));
    const all = powers(count, 8 / count);
    const inOrder =
      count === numHeads ? all : [...all.filter((_, i) => i % 2 === 1), ...all.filter((_, i) => i % 2 === 0)];
    return inOrder.slice(0, numHeads);
  }
  const count = 2 ** Math.floor(Math.log2(numHeads));
  const between = powers(2 * count, 4 / count).filter((_, i) => i % 2 === 0);
  return [...powers(count, 8 / count), ...between.slice(0, numHeads - count)];
}
