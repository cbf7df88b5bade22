import { KvlrError, type RopeParameters } from '@kvlr/core';

const supportedTypes = ['default', 'linear', 'llama3'] as const;

/** What transformers assumes for LLaMA when config.json names no rope_theta. */
const defaultTheta = 10000;

type Section = Record<string, unknown>;

/**
 * RoPE parameters from a Hugging Face config.json, in the old form (`rope_theta` and `rope_scaling` with `rope_type` or
 * `type`) or the new one (`rope_parameters`).
 * Throws KvlrError 'unsupported-feature' for other types (yarn, dynamic, longrope, ...), partial rotary embeddings and
 * parameters that differ between layers; 'file-malformed' when a value is missing or no positive number.
 */
export function parseRopeParameters(config: Record<string, unknown>): RopeParameters {
  const section = readSection(config);
  requireWholeRotation(config, section);
  const type = readType(section);
  const theta = readNumber('rope_theta', section.rope_theta ?? config.rope_theta ?? defaultTheta);
  if (type === 'default') return { type, theta };
  const factor = readNumber('factor', section.factor);
  if (type === 'linear') return { type, theta, factor };
  const lowFrequencyFactor = readNumber('low_freq_factor', section.low_freq_factor);
  const highFrequencyFactor = readNumber('high_freq_factor', section.high_freq_factor);
  if (highFrequencyFactor <= lowFrequencyFactor) {
    throw new KvlrError('file-malformed', {
      message: `parseRopeParameters: expected high_freq_factor above low_freq_factor, got ${highFrequencyFactor} and ${lowFrequencyFactor}`,
      hint: 'Compare config.json with the one published for the model.',
      data: { highFrequencyFactor, lowFrequencyFactor },
    });
  }
  const originalMaxPositionEmbeddings = readNumber(
    'original_max_position_embeddings',
    section.original_max_position_embeddings ?? config.original_max_position_embeddings,
  );
  return { type, theta, factor, lowFrequencyFactor, highFrequencyFactor, originalMaxPositionEmbeddings };
}

function readSection(config: Section): Section {
  for (const key of ['rope_parameters', 'rope_scaling']) {
    const section = config[key];
    if (section === undefined || section === null) continue;
    if (typeof section !== 'object' || Array.isArray(section)) {
      throw new KvlrError('file-malformed', {
        message: `parseRopeParameters: expected ${key} to be an object or null, got ${JSON.stringify(section)}`,
        hint: 'Compare config.json with the one published for the model.',
        data: { key, value: section },
      });
    }
    const nested = Object.entries(section).find(([, value]) => typeof value === 'object' && value !== null);
    if (nested !== undefined && !Array.isArray(nested[1])) {
      throw new KvlrError('unsupported-feature', {
        message: `parseRopeParameters: expected one set of RoPE parameters for all layers, got a set for '${nested[0]}' in ${key}`,
        data: { key, layerType: nested[0] },
      });
    }
    return section as Section;
  }
  return {};
}

function readType(section: Section): RopeParameters['type'] {
  const name = section.rope_type ?? section.type ?? 'default';
  const type = supportedTypes.find((candidate) => candidate === name);
  if (type === undefined) {
    throw new KvlrError('unsupported-feature', {
      message: `parseRopeParameters: expected RoPE of type ${supportedTypes.join(', ')}, got ${JSON.stringify(name)}`,
      hint: 'Use a checkpoint with one of the supported types; stretched variants of a model often have an original without.',
      data: { type: name, supported: [...supportedTypes] },
    });
  }
  return type;
}

function requireWholeRotation(config: Section, section: Section): void {
  for (const key of ['partial_rotary_factor', 'rotary_pct']) {
    const share = section[key] ?? config[key];
    if (share !== undefined && share !== null && share !== 1) {
      throw new KvlrError('unsupported-feature', {
        message: `parseRopeParameters: expected RoPE on the whole head (${key} 1), got ${JSON.stringify(share)}`,
        data: { key, value: share },
      });
    }
  }
}

function readNumber(key: string, value: unknown): number {
  if (typeof value !== 'number' || !(value > 0) || !Number.isFinite(value)) {
    throw new KvlrError('file-malformed', {
      message: `parseRopeParameters: expected ${key} to be a positive number, got ${JSON.stringify(value)}`,
      hint: 'Compare config.json with the one published for the model.',
      data: { key, value },
    });
  }
  return value;
}
