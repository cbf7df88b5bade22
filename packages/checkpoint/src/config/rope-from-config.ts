import type { RopeParameters } from '@kvlr/core';
import { malformedConfig, unsupportedConfig } from './config-reader.ts';

/**
 * Rotary parameters of a Hugging Face config, in the older form (rope_theta beside rope_scaling) and the newer one
 * (rope_parameters holding both). Throws 'unsupported-feature' for other scalings (yarn, dynamic, longrope).
 */
export function ropeFromConfig(config: Record<string, unknown>): RopeParameters {
  const section = config.rope_parameters ?? config.rope_scaling ?? {};
  if (typeof section !== 'object' || Array.isArray(section))
    throw malformedConfig('rope_scaling', 'an object', section);
  const scaling = section as Record<string, unknown>;
  const positive = (field: string, fallback?: unknown): number => {
    const value = scaling[field] ?? fallback;
    if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0) {
      throw malformedConfig(`rope ${field}`, 'a positive number', value);
    }
    return value;
  };
  const theta = positive('rope_theta', config.rope_theta ?? 10000);
  const type = scaling.rope_type ?? scaling.type ?? 'default';
  switch (type) {
    case 'default':
      return { type: 'default', theta };
    case 'linear':
      return { type: 'linear', theta, factor: positive('factor') };
    case 'llama3':
      return {
        type: 'llama3',
        theta,
        factor: positive('factor'),
        lowFrequencyFactor: positive('low_freq_factor'),
        highFrequencyFactor: positive('high_freq_factor'),
        originalMaxPositionEmbeddings: positive('original_max_position_embeddings', config.max_position_embeddings),
      };
    default:
      throw unsupportedConfig('rope_scaling', 'known scalings: default, linear, llama3', type);
  }
}
