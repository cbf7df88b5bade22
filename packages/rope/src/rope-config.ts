import { KvlrError, type RopeParameters, type RopeScaling } from '@kvlr/core';

const supportedTypes = ['default', 'linear', 'dynamic', 'yarn', 'longrope', 'llama3'] as const;

/** Other names of a type, in older files. */
const olderNames: Record<string, RopeScaling['type']> = { su: 'longrope' };

/** What transformers assumes for LLaMA when config.json names no rope_theta. */
const defaultTheta = 10000;

type Section = Record<string, unknown>;

/**
 * RoPE parameters from a Hugging Face config.json, in the old spelling (`rope_theta` and `rope_scaling` with `rope_type` or
 * `type`) or the new one (`rope_parameters` with `rope_theta` and `rope_type`, maybe one such set for every type of layer).
 *
 * How much of a head rotates (`partial_rotary_factor`) is not part of them.
 *
 * @param layerType Type of the layer (an entry of `layer_types`, such as 'full_attention' or 'sliding_attention') whose parameters are
 * wanted. In the old spelling window layers may have a base of their own (`rope_local_base_freq`, Gemma 3).
 * @throws KvlrError 'unsupported-feature' for types other than default, linear, dynamic, yarn, longrope and llama3, and for a set per type
 * of layer when no type is asked for; 'file-malformed' when a value is missing or out of range. Both name the field.
 */
export function parseRopeParameters(config: Record<string, unknown>, layerType?: string): RopeParameters {
  const section = readSection(config, layerType);
  const theta = readNumber('rope_theta', section.rope_theta ?? config.rope_theta ?? defaultTheta);
  return { ...readScaling(section, config), theta };
}

/**
 * The other way: what stands in `rope_scaling` of the old spelling, which every version of transformers reads; null without scaling.
 * The base goes to `rope_theta`.
 */
export function formatRopeScaling(rope: RopeParameters): Record<string, unknown> | null {
  const { type, theta: _, ...scaling } = rope;
  if (type === 'default') return null;
  const fields = Object.entries(scaling).map(([name, value]) => [fieldNames[name] ?? name, value]);
  const { original_max_position_embeddings: original, ...others } = Object.fromEntries(fields);
  // transformers takes the context for the original one under 'dynamic', and warns of a field that it does not know.
  const withOriginal = original !== undefined && type !== 'dynamic';
  const { attentionFactor } = rope.type === 'longrope' ? rope : {};
  return {
    ...{ rope_type: type, ...others },
    ...(withOriginal && { original_max_position_embeddings: original }),
    // vLLM reads the factor of longrope by these names, and transformers warns of them: where it is 1 nobody needs them.
    ...(attentionFactor && attentionFactor !== 1 && { short_mscale: attentionFactor, long_mscale: attentionFactor }),
  };
}

/** Field of config.json for each parameter that is called otherwise. */
const fieldNames: Record<string, string> = {
  lowFrequencyFactor: 'low_freq_factor',
  highFrequencyFactor: 'high_freq_factor',
  originalMaxPositionEmbeddings: 'original_max_position_embeddings',
  attentionFactor: 'attention_factor',
  betaFast: 'beta_fast',
  betaSlow: 'beta_slow',
  mscaleAllDim: 'mscale_all_dim',
  shortFactor: 'short_factor',
  longFactor: 'long_factor',
};

function readScaling(section: Section, config: Section): RopeScaling {
  const type = readType(section);
  if (type === 'default') return { type };
  const optional = (key: string) => {
    const value = section[key];
    return value === undefined || value === null ? undefined : readNumber(key, value);
  };
  const context = () => readNumber('max_position_embeddings', config.max_position_embeddings);
  const originalContext = 'original_max_position_embeddings';
  const original = section[originalContext] ?? config[originalContext];
  switch (type) {
    case 'linear':
      return { type, factor: readNumber('factor', section.factor) };
    case 'dynamic':
      // transformers takes the context for the original one here, whatever else the file says.
      return { type, factor: readNumber('factor', section.factor), originalMaxPositionEmbeddings: context() };
    case 'yarn': {
      const trained = original === undefined ? context() : readNumber(originalContext, original);
      return withoutUndefined({
        type,
        factor: optional('factor') ?? context() / trained,
        originalMaxPositionEmbeddings: trained,
        attentionFactor: optional('attention_factor'),
        betaFast: optional('beta_fast'),
        betaSlow: optional('beta_slow'),
        mscale: optional('mscale'),
        mscaleAllDim: optional('mscale_all_dim'),
        truncate: typeof section.truncate === 'boolean' ? section.truncate : undefined,
      });
    }
    case 'longrope': {
      const trained = original === undefined ? context() : readNumber(originalContext, original);
      return withoutUndefined({
        type,
        factor: optional('factor') ?? context() / trained,
        originalMaxPositionEmbeddings: trained,
        shortFactor: readNumbers('short_factor', section.short_factor),
        longFactor: readNumbers('long_factor', section.long_factor),
        attentionFactor: optional('attention_factor'),
      });
    }
    case 'llama3': {
      const lowFrequencyFactor = readNumber('low_freq_factor', section.low_freq_factor);
      const highFrequencyFactor = readNumber('high_freq_factor', section.high_freq_factor);
      if (highFrequencyFactor <= lowFrequencyFactor) {
        throw malformed('high_freq_factor', `above low_freq_factor ${lowFrequencyFactor}`, highFrequencyFactor);
      }
      return {
        type,
        factor: readNumber('factor', section.factor),
        lowFrequencyFactor,
        highFrequencyFactor,
        originalMaxPositionEmbeddings: readNumber(originalContext, original),
      };
    }
  }
}

/** The object that holds the scaling, in either spelling; for one type of layer where there is a set for each. */
function readSection(config: Section, layerType: string | undefined): Section {
  for (const key of ['rope_parameters', 'rope_scaling']) {
    const section = config[key];
    if (section === undefined || section === null) continue;
    if (!isSection(section)) throw malformed(key, 'an object or null', section);
    const sets = Object.keys(section).filter((name) => isSection(section[name]));
    if (sets.length === 0) return windowSection(config, layerType) ?? section;
    const set = layerType === undefined ? undefined : section[layerType];
    if (!isSection(set)) {
      throw new KvlrError('unsupported-feature', {
        message:
          layerType === undefined
            ? `expected one set of RoPE parameters for all layers, got a set for '${sets[0]}'`
            : `expected a set of RoPE parameters for '${layerType}', got sets for ${sets.join(', ')}`,
        where: { argument: key },
        data: { key, layerType: layerType ?? sets[0] },
      });
    }
    return set;
  }
  return windowSection(config, layerType) ?? {};
}

/** Gemma 3 in the old spelling: window layers are not stretched, and have a base of their own. */
function windowSection(config: Section, layerType: string | undefined): Section | undefined {
  const theta = config.rope_local_base_freq;
  if (layerType !== 'sliding_attention' || theta === undefined || theta === null) return undefined;
  return { rope_type: 'default', rope_theta: theta };
}

function isSection(value: unknown): value is Section {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function readType(section: Section): RopeScaling['type'] {
  const name = section.rope_type ?? section.type ?? 'default';
  const type = supportedTypes.find((candidate) => candidate === (olderNames[String(name)] ?? name));
  if (type === undefined) {
    throw new KvlrError('unsupported-feature', {
      message: `expected RoPE of type ${supportedTypes.join(', ')}, got ${JSON.stringify(name)}`,
      hint: 'Use a checkpoint with one of the supported types; stretched variants of a model often have an original without.',
      where: { argument: 'rope_type' },
      data: { type: name, supported: [...supportedTypes] },
    });
  }
  return type;
}

function readNumber(key: string, value: unknown): number {
  if (typeof value !== 'number' || !(value > 0) || !Number.isFinite(value)) {
    throw malformed(key, 'a positive number', value);
  }
  return value;
}

function readNumbers(key: string, value: unknown): number[] {
  if (!Array.isArray(value)) throw malformed(key, 'a list of positive numbers', value);
  return value.map((entry) => readNumber(key, entry));
}

function malformed(key: string, expected: string, value: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected ${expected}, got ${JSON.stringify(value)}`,
    hint: 'Compare config.json with the one published for the model.',
    where: { argument: key },
    data: { key, value },
  });
}

function withoutUndefined<Value extends object>(value: Value): Value {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as Value;
}
