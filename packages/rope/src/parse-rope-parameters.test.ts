import { describe, expect, it } from 'vitest';
import { expectKvlrError } from '../test-support/expect-kvlr-error.ts';
import { parseRopeParameters } from './parse-rope-parameters.ts';

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

  it('names the types it does not know', () => {
    for (const type of ['yarn', 'dynamic', 'longrope', 'mrope']) {
      for (const config of [
        { rope_scaling: { type, factor: 4 } },
        { rope_parameters: { rope_type: type, factor: 4 } },
      ]) {
        expectKvlrError(() => parseRopeParameters(config), 'unsupported-feature', new RegExp(`"${type}"`));
      }
    }
  });

  it('refuses partial rotary embeddings and parameters per kind of layer', () => {
    expectKvlrError(() => parseRopeParameters({ partial_rotary_factor: 0.5 }), 'unsupported-feature', /got 0.5/);
    const nested = { rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.25 } };
    expectKvlrError(() => parseRopeParameters(nested), 'unsupported-feature', /partial_rotary_factor/);
    expect(parseRopeParameters({ partial_rotary_factor: 1 }).type).toBe('default');
    const perLayer = { rope_parameters: { full_attention: { rope_type: 'default', rope_theta: 1e6 } } };
    expectKvlrError(() => parseRopeParameters(perLayer), 'unsupported-feature', /'full_attention'/);
  });

  it('refuses values that are missing or make no sense', () => {
    expectKvlrError(() => parseRopeParameters({ rope_theta: '1e4' }), 'file-malformed', /rope_theta.*"1e4"/);
    expectKvlrError(() => parseRopeParameters({ rope_theta: 0 }), 'file-malformed', /rope_theta/);
    expectKvlrError(() => parseRopeParameters({ rope_scaling: { type: 'linear' } }), 'file-malformed', /factor/);
    expectKvlrError(() => parseRopeParameters({ rope_scaling: [] }), 'file-malformed', /rope_scaling to be an object/);
    const { original_max_position_embeddings: _, ...incomplete } = llama31Scaling;
    expectKvlrError(() => parseRopeParameters({ rope_scaling: incomplete }), 'file-malformed', /original_max/);
    const reversed = { ...llama31Scaling, low_freq_factor: 4 };
    expectKvlrError(() => parseRopeParameters({ rope_scaling: reversed }), 'file-malformed', /high_freq_factor above/);
  });
});
