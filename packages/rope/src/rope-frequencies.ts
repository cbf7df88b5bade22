import { KvlrError, type RopeParameters, type RopeScaling } from '@kvlr/core';

/** What RoPE does at each position, as numbers: all that a rotation, a table or a kernel needs to know of the parameters. */
export interface RopeFrequencies {
  /** Angle per position of each pair of coordinates, radians, [rotaryDim / 2], highest first. */
  frequencies: Float64Array;
  /** Factor of all cosines and sines, so of every rotated coordinate of queries and of keys. 1 but for yarn and longrope. */
  attentionFactor: number;
}

export interface RopeFrequencySettings {
  /** Tokens of the sequence that is read, for the kinds that go by it (dynamic, longrope). Left out: within the original context. */
  sequenceLength?: number;
}

type Scaling<Type extends RopeScaling['type']> = Extract<RopeScaling, { type: Type }>;

/**
 * The frequencies of rotary position embeddings, as transformers 5 computes them.
 *
 * - default: theta_j = theta^(-2j / rotaryDim) (Su et al., RoFormer, arXiv 2104.09864, section 3.2.2).
 * - linear: the same over `factor` (position interpolation, Chen et al., arXiv 2306.15595).
 * - dynamic: beyond the original context theta grows with the sequence, by
 *   (factor * length / original - factor + 1)^(rotaryDim / (rotaryDim - 2)) (NTK-aware scaling; Peng et al., arXiv 2309.00071, section 3).
 * - yarn: pairs that turn more than betaFast times over the original context are kept, those that turn less than betaSlow times
 *   stretched by `factor`, those between blended (Peng et al., arXiv 2309.00071).
 * - longrope: a factor of its own for every pair, from one of two lists (Ding et al., arXiv 2402.13753).
 * - llama3: wavelengths beyond originalMaxPositionEmbeddings / lowFrequencyFactor are stretched by `factor`, those below
 *   originalMaxPositionEmbeddings / highFrequencyFactor are kept, those between are blended (Meta's Llama 3.1 release).
 *
 * @param rotaryDim Coordinates of a head that are rotated: headDim, or less under partial rotary embeddings.
 * @throws KvlrError 'invalid-argument' when rotaryDim is odd or a parameter that the type needs is missing or out of range.
 */
export function ropeFrequencies(
  parameters: RopeParameters,
  rotaryDim: number,
  { sequenceLength }: RopeFrequencySettings = {},
): RopeFrequencies {
  if (!Number.isInteger(rotaryDim) || rotaryDim < 2 || rotaryDim % 2 !== 0) {
    throw new KvlrError('invalid-argument', {
      message: `expected an even number, at least 2, got ${rotaryDim}`,
      where: { argument: 'rotaryDim' },
      data: { rotaryDim },
    });
  }
  requirePositive(parameters, 'theta', parameters.theta);
  const plain = geometric(parameters.theta, rotaryDim);
  switch (parameters.type) {
    case 'default':
      return unscaled(plain);
    case 'linear': {
      const factor = requirePositive(parameters, 'factor', parameters.factor);
      return unscaled(plain.map((frequency) => frequency / factor));
    }
    case 'dynamic':
      return unscaled(geometric(grownTheta(parameters, rotaryDim, sequenceLength), rotaryDim));
    case 'yarn':
      return { frequencies: blendedByTurns(plain, parameters), attentionFactor: yarnAttentionFactor(parameters) };
    case 'longrope':
      return {
        frequencies: stretchedByPair(plain, parameters, sequenceLength),
        attentionFactor: longropeAttentionFactor(parameters),
      };
    case 'llama3':
      return unscaled(blendedByWavelength(plain, parameters));
  }
}

/** Whether the frequencies of a text change while it grows: 'dynamic', and 'longrope' unless its two lists say the same. */
export function frequenciesGoByLength(rope: RopeParameters): boolean {
  if (rope.type !== 'longrope') return rope.type === 'dynamic';
  return rope.shortFactor.some((factor, pair) => factor !== rope.longFactor[pair]);
}

function unscaled(frequencies: Float64Array): RopeFrequencies {
  return { frequencies, attentionFactor: 1 };
}

function geometric(theta: number, rotaryDim: number): Float64Array {
  return Float64Array.from({ length: rotaryDim / 2 }, (_, j) => theta ** ((-2 * j) / rotaryDim));
}

function grownTheta(parameters: RopeParameters & Scaling<'dynamic'>, rotaryDim: number, sequenceLength = 0): number {
  const factor = requirePositive(parameters, 'factor', parameters.factor);
  const original = originalContext(parameters);
  if (sequenceLength <= original || rotaryDim === 2) return parameters.theta;
  const growth = (factor * sequenceLength) / original - (factor - 1);
  return parameters.theta * growth ** (rotaryDim / (rotaryDim - 2));
}

function blendedByTurns(plain: Float64Array, parameters: RopeParameters & Scaling<'yarn'>): Float64Array {
  const factor = requirePositive(parameters, 'factor', parameters.factor);
  const fast = requirePositive(parameters, 'betaFast', parameters.betaFast ?? 32);
  const slow = requirePositive(parameters, 'betaSlow', parameters.betaSlow ?? 1);
  const original = originalContext(parameters);
  const rotaryDim = 2 * plain.length;
  /** The pair, counted with fractions, that turns so often over the original context. */
  const pairThatTurns = (turns: number) =>
    (rotaryDim * Math.log(original / (turns * 2 * Math.PI))) / (2 * Math.log(parameters.theta));
  const { truncate = true } = parameters;
  const low = Math.max(0, truncate ? Math.floor(pairThatTurns(fast)) : pairThatTurns(fast));
  let high = Math.min(rotaryDim - 1, truncate ? Math.ceil(pairThatTurns(slow)) : pairThatTurns(slow));
  if (high === low) high += 0.001;
  return plain.map((frequency, j) => {
    const stretched = Math.min(1, Math.max(0, (j - low) / (high - low)));
    return (frequency / factor) * stretched + frequency * (1 - stretched);
  });
}

function yarnAttentionFactor({ factor, attentionFactor, mscale, mscaleAllDim }: Scaling<'yarn'>): number {
  if (attentionFactor !== undefined) return attentionFactor;
  const temperature = (scale = 1) => (factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1);
  return mscale && mscaleAllDim ? temperature(mscale) / temperature(mscaleAllDim) : temperature();
}

function stretchedByPair(
  plain: Float64Array,
  parameters: RopeParameters & Scaling<'longrope'>,
  sequenceLength = 0,
): Float64Array {
  const list = sequenceLength > originalContext(parameters) ? 'longFactor' : 'shortFactor';
  const factors = parameters[list];
  if (factors.length !== plain.length) {
    throw new KvlrError('invalid-argument', {
      message: `expected ${plain.length} factors for ${2 * plain.length} rotated coordinates, got ${factors.length}`,
      where: { argument: list },
      data: { list, expected: plain.length, received: factors.length },
    });
  }
  return plain.map((frequency, j) => frequency / requirePositive(parameters, list, factors[j]));
}

function longropeAttentionFactor(parameters: RopeParameters & Scaling<'longrope'>): number {
  const { factor, attentionFactor } = parameters;
  if (attentionFactor !== undefined) return attentionFactor;
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalContext(parameters)));
}

function blendedByWavelength(plain: Float64Array, parameters: RopeParameters & Scaling<'llama3'>): Float64Array {
  const factor = requirePositive(parameters, 'factor', parameters.factor);
  const low = requirePositive(parameters, 'lowFrequencyFactor', parameters.lowFrequencyFactor);
  const high = requirePositive(parameters, 'highFrequencyFactor', parameters.highFrequencyFactor);
  const context = originalContext(parameters);
  if (high <= low) {
    throw new KvlrError('invalid-argument', {
      message: `expected highFrequencyFactor above lowFrequencyFactor, got ${high} and ${low}`,
      data: { highFrequencyFactor: high, lowFrequencyFactor: low },
    });
  }
  return plain.map((frequency) => {
    const turnsInContext = (context * frequency) / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (turnsInContext - low) / (high - low)));
    return kept * frequency + ((1 - kept) * frequency) / factor;
  });
}

function originalContext(parameters: RopeParameters & { originalMaxPositionEmbeddings: number }): number {
  return requirePositive(parameters, 'originalMaxPositionEmbeddings', parameters.originalMaxPositionEmbeddings);
}

function requirePositive({ type }: RopeParameters, argument: string, value: number | undefined): number {
  if (value === undefined || !(value > 0) || !Number.isFinite(value)) {
    throw new KvlrError('invalid-argument', {
      message: `expected a positive number for RoPE of type ${type}, got ${value}`,
      hint: 'Read the parameters from the model config with parseRopeParameters.',
      where: { argument },
      data: { name: argument, value },
    });
  }
  return value;
}
