import { type DecoderShape, layerRope, type RopeParameters } from '@kvlr/core';
import { formatRopeScaling, ropeFrequencies } from '@kvlr/rope';
import type { GgufValue } from './format.ts';
import type { GgufMetadataValue } from './header.ts';

/** What a file divides the default frequencies by, where it brings tensors of that: for all texts, or for short and long ones. */
export interface RopeFactors {
  all?: Float32Array | undefined;
  short?: Float32Array | undefined;
  long?: Float32Array | undefined;
}

/** Names of the tensors that hold them. */
export const ropeFactorNames = {
  all: 'rope_freqs.weight',
  short: 'rope_factors_short.weight',
  long: 'rope_factors_long.weight',
} as const;

interface RopeKeys {
  read(key: string): GgufMetadataValue | undefined;
  number(key: string): number | undefined;
  theta: number;
  rotaryDim: number;
  factors: RopeFactors;
}

/** Fields of config.json that say how the frequencies of a GGUF file are stretched. */
export function ropeScalingFromGguf({ read, number, theta, rotaryDim, factors }: RopeKeys): Record<string, unknown> {
  const original = number('rope.scaling.original_context_length');
  const context = number('context_length')!;
  const { all, short, long } = factors;
  if (short !== undefined && long !== undefined) {
    const attention = number('rope.scaling.attn_factor');
    const trained = original ?? context;
    const parameters: RopeParameters = {
      ...{ type: 'longrope', theta, factor: context / trained, originalMaxPositionEmbeddings: trained },
      shortFactor: decimals(short),
      longFactor: decimals(long),
    };
    const usual = ropeFrequencies(parameters, rotaryDim).attentionFactor;
    const isUsual = attention === undefined || Math.abs(attention / usual - 1) < 1e-4;
    // Under the names that Phi's own files have.
    return {
      original_max_position_embeddings: trained,
      rope_scaling: {
        ...{ type: 'longrope', short_factor: parameters.shortFactor, long_factor: parameters.longFactor },
        ...(!isUsual && { attention_factor: attention }),
      },
    };
  }
  if (all !== undefined) return { rope_scaling: formatRopeScaling(fromFactors(all, theta, rotaryDim, context)) };
  const type = read('rope.scaling.type');
  const factor = number('rope.scaling.factor') ?? number('rope.scale_linear') ?? 1;
  if (type === 'yarn') {
    const attention = number('rope.scaling.attn_factor') ?? 1;
    const [fast, slow] = [number('rope.scaling.yarn_beta_fast'), number('rope.scaling.yarn_beta_slow')];
    return {
      rope_scaling: formatRopeScaling({
        ...{ type, theta, factor, originalMaxPositionEmbeddings: original ?? context },
        ...(attention !== 1 && { attentionFactor: attention * (1 + 0.1 * Math.log(factor)) }),
        ...(fast !== undefined && { betaFast: fast }),
        ...(slow !== undefined && { betaSlow: slow }),
      }),
    };
  }
  if (type === 'none' || factor === 1) return {};
  return { rope_scaling: formatRopeScaling({ type: 'linear', theta, factor }) };
}

/**
 * The parameters behind factors of frequencies: those of Llama 3 where they fit (1 for short wavelengths, the largest for long
 * ones, between them a line over the inverse wavelength), else the factors themselves.
 */
function fromFactors(factors: Float32Array, theta: number, rotaryDim: number, context: number): RopeParameters {
  const factor = factors.reduce((most, value) => Math.max(most, value), 1);
  const { frequencies } = ropeFrequencies({ type: 'default', theta }, rotaryDim);
  // Share of the unstretched frequency, s = original / (high - low) / wavelength - low / (high - low); only ratios matter.
  const share = (pair: number) => (1 / factors[pair]! - 1 / factor) / (1 - 1 / factor);
  const between = [...factors.keys()].filter((pair) => share(pair) > 1e-3 && share(pair) < 1 - 1e-3);
  const guesses: [original: number, low: number, high: number][] = [[8192, 1, 4]];
  if (between.length > 1) {
    const [a, b] = [between[0]!, between.at(-1)!];
    const inverse = (pair: number) => frequencies[pair]! / (2 * Math.PI);
    const slope = (share(a) - share(b)) / (inverse(a) - inverse(b));
    const low = -3 * (share(a) - slope * inverse(a));
    const round = (value: number) => Number(value.toPrecision(4));
    guesses.unshift([Math.round(3 * slope), round(low), round(low + 3)], [3 * slope, low, low + 3]);
  }
  for (const [originalMaxPositionEmbeddings, lowFrequencyFactor, highFrequencyFactor] of guesses) {
    if (!(lowFrequencyFactor > 0 && originalMaxPositionEmbeddings > 0)) continue;
    const fields = { originalMaxPositionEmbeddings, lowFrequencyFactor, highFrequencyFactor };
    const guess: RopeParameters = { type: 'llama3', theta, factor: decimals([factor])[0]!, ...fields };
    const scaled = ropeFrequencies(guess, rotaryDim).frequencies;
    const fits = factors.every((value, pair) => Math.abs((value * scaled[pair]!) / frequencies[pair]! - 1) < 1e-5);
    if (fits) return guess;
  }
  const list = decimals(factors);
  return {
    ...{ type: 'longrope', theta, factor: 1, originalMaxPositionEmbeddings: context, attentionFactor: 1 },
    ...{ shortFactor: list, longFactor: list },
  };
}

function decimals(values: ArrayLike<number>): number[] {
  return Array.from(values, (value) => Number(value.toPrecision(8)));
}

/** The tensors of factors that a file of this decoder holds. */
export function ropeFactors(shape: DecoderShape): RopeFactors {
  const positions = shape.layers.find((layer) => layer.positions.kind === 'rope')?.positions;
  if (positions?.kind !== 'rope') return {};
  const { rope, rotaryDim } = positions;
  if (rope.type === 'longrope' && !isOneList(rope)) {
    return { short: Float32Array.from(rope.shortFactor), long: Float32Array.from(rope.longFactor) };
  }
  if (rope.type !== 'llama3' && rope.type !== 'longrope') return {};
  const plain = ropeFrequencies({ type: 'default', theta: rope.theta }, rotaryDim).frequencies;
  const scaled = ropeFrequencies(rope, rotaryDim).frequencies;
  return { all: Float32Array.from(plain, (frequency, pair) => frequency / scaled[pair]!) };
}

/** Factors that are the same for short and long texts. */
function isOneList({ shortFactor, longFactor }: Extract<RopeParameters, { type: 'longrope' }>): boolean {
  return shortFactor.every((factor, pair) => factor === longFactor[pair]);
}

/** Keys, behind the architecture's name, that say how the order of tokens is known. Layers without positions go by the architecture. */
export function positionMetadata(shape: DecoderShape): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  if (shape.layers[0]?.positions.kind === 'alibi') {
    metadata.set('attention.max_alibi_bias', { type: 'float32', value: 8 });
  }
  const layer = shape.layers.findLastIndex(
    ({ positions, window }) => positions.kind === 'rope' && window === undefined,
  );
  const positions = layerRope(shape, Math.max(0, layer));
  if (positions === undefined) return metadata;
  const { rope, rotaryDim } = positions;
  metadata.set('rope.dimension_count', { type: 'uint32', value: rotaryDim });
  metadata.set('rope.freq_base', { type: 'float32', value: rope.theta });
  const float = (key: string, value: number) => metadata.set(`rope.scaling.${key}`, { type: 'float32', value });
  if (rope.type === 'linear' || rope.type === 'yarn' || (rope.type === 'longrope' && !isOneList(rope))) {
    metadata.set('rope.scaling.type', { type: 'string', value: rope.type });
    if (rope.type !== 'longrope') float('factor', rope.factor);
    if (rope.type === 'longrope') float('attn_factor', ropeFrequencies(rope, rotaryDim).attentionFactor);
    if (rope.type !== 'linear') {
      const value = rope.originalMaxPositionEmbeddings;
      metadata.set('rope.scaling.original_context_length', { type: 'uint32', value });
    }
  }
  return metadata;
}
