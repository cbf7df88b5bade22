import { KvlrError, type RopeParameters } from '@kvlr/core';

/**
 * The angle per position of each pair of coordinates, radians, [headDim / 2], highest frequency first.
 *
 * - default: theta_j = theta^(-2j / headDim) (Su et al., RoFormer, arXiv 2104.09864, section 3.2.2).
 * - linear: the same over `factor` (position interpolation, Chen et al., arXiv 2306.15595).
 * - llama3: wavelengths beyond originalMaxPositionEmbeddings / lowFrequencyFactor are stretched by `factor`, those below
 *   originalMaxPositionEmbeddings / highFrequencyFactor are kept, those between are blended (Meta's Llama 3.1 release).
 *
 * Throws KvlrError 'invalid-argument' when headDim is odd or a parameter that the type needs is missing or out of range.
 */
export function ropeFrequencies(parameters: RopeParameters, headDim: number): Float64Array {
  if (!Number.isInteger(headDim) || headDim < 2 || headDim % 2 !== 0) {
    throw new KvlrError('invalid-argument', {
      message: `ropeFrequencies: expected headDim to be even and at least 2, got ${headDim}`,
      data: { headDim },
    });
  }
  const theta = requirePositive(parameters, 'theta');
  const frequencies = Float64Array.from({ length: headDim / 2 }, (_, j) => theta ** ((-2 * j) / headDim));
  switch (parameters.type) {
    case 'default':
      return frequencies;
    case 'linear': {
      const factor = requirePositive(parameters, 'factor');
      return frequencies.map((frequency) => frequency / factor);
    }
    case 'llama3':
      return stretchLowFrequencies(frequencies, parameters);
  }
}

function stretchLowFrequencies(frequencies: Float64Array, parameters: RopeParameters): Float64Array {
  const factor = requirePositive(parameters, 'factor');
  const low = requirePositive(parameters, 'lowFrequencyFactor');
  const high = requirePositive(parameters, 'highFrequencyFactor');
  const context = requirePositive(parameters, 'originalMaxPositionEmbeddings');
  if (high <= low) {
    throw new KvlrError('invalid-argument', {
      message: `ropeFrequencies: expected highFrequencyFactor above lowFrequencyFactor, got ${high} and ${low}`,
      data: { highFrequencyFactor: high, lowFrequencyFactor: low },
    });
  }
  return frequencies.map((frequency) => {
    const turnsInContext = (context * frequency) / (2 * Math.PI);
    const kept = Math.min(1, Math.max(0, (turnsInContext - low) / (high - low)));
    return kept * frequency + ((1 - kept) * frequency) / factor;
  });
}

function requirePositive(parameters: RopeParameters, name: Exclude<keyof RopeParameters, 'type'>): number {
  const value = parameters[name];
  if (value === undefined || !(value > 0) || !Number.isFinite(value)) {
    throw new KvlrError('invalid-argument', {
      message: `ropeFrequencies: expected ${name} to be a positive number for RoPE of type ${parameters.type}, got ${value}`,
      hint: 'Read the parameters from the model config with parseRopeParameters.',
      data: { name, value },
    });
  }
  return value;
}
