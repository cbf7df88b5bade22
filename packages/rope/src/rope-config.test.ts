import { expectKvlrError } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatRopeScaling, parseRopeParameters } from './rope-config.ts';

const llama31Scaling = {
  factor: 8.0,
  low_freq_factor: 1.0,
  high_freq_factor: 4.0,
  original_max_position_embeddings: 8192,
  rope_type: 'llama3',
};
const llama31 = {
  type: 'llama3',
  theta: 500000,
  factor: 8,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalMaxPositionEmbeddings: 8192,
};

describe('parseRopeParameters', () => {
  it('reads the old form', () => {
    expect(parseRopeParameters({})).toEqual({ type: 'default', theta: 10000 });
    expect(parseRopeParameters({ rope_theta: 1e6, rope_scaling: null })).toEqual({ type: 'default', theta: 1e6 });
    expect(parseRopeParameters({ rope_scaling: { type: 'linear', factor: 2 } })).toEqual({
      type: 'linear',
      theta: 10000,
      factor: 2,
    });
    expect(parseRopeParameters({ rope_theta: 500000, rope_scaling: llama31Scaling })).toEqual(llama31);
  });

  it('reads the new form, which takes precedence', () => {
    expect(parseRopeParameters({ rope_parameters: { rope_type: 'default', rope_theta: 5000 } })).toEqual({
      type: 'default',
      theta: 5000,
    });
    const both = { rope_theta: 1, rope_scaling: null, rope_parameters: { ...llama31Scaling, rope_theta: 500000 } };
    expect(parseRopeParameters(both)).toEqual(llama31);
  });

  it('reads stretched contexts in both spellings', () => {
    const yarn = { type: 'yarn', theta: 1e4, factor: 4, originalMaxPositionEmbeddings: 64 };
    expect(
      parseRopeParameters({
        max_position_embeddings: 256,
        rope_parameters: { rope_type: 'yarn', rope_theta: 1e4, factor: 4, original_max_position_embeddings: 64 },
      }),
    ).toEqual(yarn);
    // As DeepSeek-V2 in the old spelling; a factor of null is the ratio of the contexts.
    const settings = { beta_fast: 32, beta_slow: 1, mscale: 1, mscale_all_dim: 0.8, attention_factor: null };
    expect(
      parseRopeParameters({
        max_position_embeddings: 163840,
        rope_scaling: {
          ...{ type: 'yarn', factor: null, original_max_position_embeddings: 4096, truncate: false },
          ...settings,
        },
      }),
    ).toEqual({
      ...{ type: 'yarn', theta: 10000, factor: 40, originalMaxPositionEmbeddings: 4096 },
      ...{ betaFast: 32, betaSlow: 1, mscale: 1, mscaleAllDim: 0.8, truncate: false },
    });
    expect(parseRopeParameters({ max_position_embeddings: 32, rope_scaling: { type: 'dynamic', factor: 3 } })).toEqual({
      ...{ type: 'dynamic', theta: 10000, factor: 3, originalMaxPositionEmbeddings: 32 },
    });
  });

  it('reads longrope with the original context beside the section or in it, and Phi-3 by its first name', () => {
    const longrope = {
      ...{ type: 'longrope', theta: 10000, factor: 2, originalMaxPositionEmbeddings: 32 },
      ...{ shortFactor: [1, 1.1, 1.2, 1.3], longFactor: [1.5, 2.2, 2.9, 3.6] },
    };
    const lists = { long_factor: [1.5, 2.2, 2.9, 3.6], short_factor: [1, 1.1, 1.2, 1.3] };
    const old = { max_position_embeddings: 64, original_max_position_embeddings: 32, rope_theta: 10000 };
    expect(parseRopeParameters({ ...old, rope_scaling: { type: 'longrope', ...lists } })).toEqual(longrope);
    expect(parseRopeParameters({ ...old, rope_scaling: { type: 'su', ...lists } })).toEqual(longrope);
    const section = { rope_type: 'longrope', rope_theta: 10000, original_max_position_embeddings: 32, ...lists };
    expect(parseRopeParameters({ max_position_embeddings: 64, rope_parameters: section })).toEqual(longrope);
    const { short_factor: _, ...incomplete } = section;
    expectKvlrError(
      () => parseRopeParameters({ max_position_embeddings: 64, rope_parameters: incomplete }),
      'file-malformed',
      /^short_factor: expected a list/,
    );
  });

  it('reads the parameters of one type of layer', () => {
    const global = { type: 'linear', theta: 1e6, factor: 8 };
    const local = { type: 'default', theta: 1e4 };
    const old = { rope_local_base_freq: 1e4, rope_theta: 1e6, rope_scaling: { rope_type: 'linear', factor: 8 } };
    expect(parseRopeParameters(old, 'full_attention')).toEqual(global);
    expect(parseRopeParameters(old, 'sliding_attention')).toEqual(local);
    expect(parseRopeParameters({ ...old, rope_scaling: null }, 'sliding_attention')).toEqual(local);
    const sets = {
      rope_parameters: {
        full_attention: { rope_type: 'linear', rope_theta: 1e6, factor: 8 },
        sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
      },
    };
    expect(parseRopeParameters(sets, 'full_attention')).toEqual(global);
    expect(parseRopeParameters(sets, 'sliding_attention')).toEqual(local);
    expectKvlrError(() => parseRopeParameters(sets), 'unsupported-feature', /'full_attention'/);
    expectKvlrError(() => parseRopeParameters(sets, 'conv'), 'unsupported-feature', /for 'conv', got sets for full_/);
    // One set for all layers serves every type.
    expect(parseRopeParameters({ rope_theta: 5000 }, 'sliding_attention')).toEqual({ type: 'default', theta: 5000 });
  });

  it.each(['mrope', 'proportional'])('names a type that it does not know: %s', (type) => {
    for (const config of [{ rope_scaling: { type, factor: 4 } }, { rope_parameters: { rope_type: type, factor: 4 } }]) {
      expectKvlrError(() => parseRopeParameters(config), 'unsupported-feature', new RegExp(`^rope_type: .*"${type}"`));
    }
  });

  it('refuses values that are missing or make no sense', () => {
    expectKvlrError(() => parseRopeParameters({ rope_theta: '1e4' }), 'file-malformed', /^rope_theta: .*"1e4"/);
    expectKvlrError(() => parseRopeParameters({ rope_theta: 0 }), 'file-malformed', /rope_theta/);
    expectKvlrError(() => parseRopeParameters({ rope_scaling: { type: 'linear' } }), 'file-malformed', /factor/);
    expectKvlrError(
      () => parseRopeParameters({ rope_scaling: [] }),
      'file-malformed',
      /^rope_scaling: expected an object/,
    );
    const { original_max_position_embeddings: _, ...incomplete } = llama31Scaling;
    expectKvlrError(() => parseRopeParameters({ rope_scaling: incomplete }), 'file-malformed', /original_max/);
    const reversed = { ...llama31Scaling, low_freq_factor: 4 };
    expectKvlrError(
      () => parseRopeParameters({ rope_scaling: reversed }),
      'file-malformed',
      /^high_freq_factor: expected above low_freq_factor 4/,
    );
  });
});

describe('formatRopeScaling', () => {
  it("tells vLLM the factor of longrope's scores where there is one", () => {
    const rope = {
      ...{ type: 'longrope' as const, theta: 10000, factor: 1, originalMaxPositionEmbeddings: 64 },
      ...{ shortFactor: [1, 2], longFactor: [1, 2] },
    };
    const written = formatRopeScaling({ ...rope, attentionFactor: 1.25 });
    expect(written).toMatchObject({ attention_factor: 1.25, short_mscale: 1.25, long_mscale: 1.25 });
    expect(formatRopeScaling({ ...rope, attentionFactor: 1 })).not.toHaveProperty('short_mscale');
  });

  const positive = fc.double({ min: 1e-3, max: 1e6, noNaN: true });
  const maybe = fc.option(positive, { nil: undefined });
  const original = fc.constant(4096);
  const scalings = fc.oneof(
    fc.record({ type: fc.constant('default' as const) }),
    fc.record({ type: fc.constant('linear' as const), factor: positive }),
    fc.record({ type: fc.constant('dynamic' as const), factor: positive, originalMaxPositionEmbeddings: original }),
    fc.record({
      ...{ type: fc.constant('yarn' as const), factor: positive, originalMaxPositionEmbeddings: original },
      ...{ attentionFactor: maybe, betaFast: maybe, betaSlow: maybe, mscale: maybe, mscaleAllDim: maybe },
      truncate: fc.option(fc.boolean(), { nil: undefined }),
    }),
    fc.record({
      ...{ type: fc.constant('longrope' as const), factor: positive, originalMaxPositionEmbeddings: original },
      ...{ shortFactor: fc.array(positive), longFactor: fc.array(positive), attentionFactor: maybe },
    }),
    fc.record({
      ...{ type: fc.constant('llama3' as const), factor: positive, originalMaxPositionEmbeddings: original },
      ...{ lowFrequencyFactor: fc.constant(1), highFrequencyFactor: fc.constant(4) },
    }),
  );

  it('writes what parseRopeParameters reads back, of every kind', () => {
    fc.assert(
      fc.property(scalings, positive, (scaling, theta) => {
        const config = { rope_theta: theta, max_position_embeddings: 4096 };
        const written = JSON.parse(JSON.stringify(formatRopeScaling({ ...scaling, theta })));
        expect(parseRopeParameters({ ...config, rope_scaling: written })).toEqual({ ...scaling, theta });
      }),
    );
  });

  it("is in transformers' words", () => {
    expect(formatRopeScaling({ type: 'default', theta: 1 })).toBeNull();
    expect(formatRopeScaling(parseRopeParameters({ rope_scaling: llama31Scaling }))).toEqual(llama31Scaling);
  });
});
