import { type DecoderShape, layerRope } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { findArchitecture } from '../architectures/families.ts';
import { modelShapeFromConfig } from './read-config.ts';

const llamaConfig = {
  model_type: 'llama',
  hidden_size: 24,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 50,
};
const ropeOf = (shape: DecoderShape) => layerRope(shape, 0)?.rope;
const shapeOf = (config: Record<string, unknown>) =>
  modelShapeFromConfig({ ...llamaConfig, ...config }, findArchitecture(config.model_type ?? 'llama'));

describe('modelShapeFromConfig', () => {
  it('takes the defaults of transformers for what is left out', () => {
    expect(shapeOf({})).toMatchObject({
      numKeyValueHeads: 4,
      headDim: 6,
      maxPositionEmbeddings: 2048,
      blocks: { norm: { kind: 'rms', epsilon: 1e-6 } },
      attention: { inputBias: false, outputBias: false },
      feedForward: { activation: 'silu', gated: true, bias: false },
      head: { tied: false },
    });
    expect(ropeOf(shapeOf({}))).toEqual({ type: 'default', theta: 10000 });
  });

  it('reads a Llama 3.1 config in the older and the newer form', () => {
    const scaling = {
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    };
    const older = shapeOf({ head_dim: 8, num_key_value_heads: 2, rope_theta: 500000, rope_scaling: scaling });
    expect(older).toMatchObject({
      headDim: 8,
      numKeyValueHeads: 2,
    });
    expect(ropeOf(older)).toMatchObject({ type: 'llama3', theta: 500000, factor: 8 });
    expect(ropeOf(shapeOf({ rope_parameters: { rope_theta: 500000, ...scaling } }))).toEqual(ropeOf(older));
  });

  it('knows the biases of each family', () => {
    const biasesOf = (config: Record<string, unknown>) => {
      const { attention, feedForward } = shapeOf(config);
      return [attention.inputBias, attention.outputBias, feedForward.bias];
    };
    expect(biasesOf({ attention_bias: true, mlp_bias: true })).toEqual([true, true, true]);
    expect(biasesOf({ model_type: 'qwen2' })).toEqual([true, false, false]);
    expect(biasesOf({ model_type: 'mistral' })).toEqual([false, false, false]);
  });

  it('takes a Mistral whose window covers its whole context', () => {
    const config = { model_type: 'mistral', max_position_embeddings: 4096 };
    expect(shapeOf({ ...config, sliding_window: null }).architecture).toBe('mistral');
    expect(shapeOf({ ...config, sliding_window: 4096 }).architecture).toBe('mistral');
  });

  it.each([
    ['a sliding window', { model_type: 'mistral', sliding_window: 1024 }, 'sliding_window'],
    ['a switched-on sliding window', { model_type: 'qwen2', use_sliding_window: true }, 'use_sliding_window'],
    ['quantised weights', { quantization_config: { quant_method: 'awq' } }, 'quantization_config'],
    ['rotary positions on a part of the head', { partial_rotary_factor: 0.5 }, 'partial_rotary_factor'],
    ['another scaling of positions', { rope_scaling: { type: 'mrope', factor: 4 } }, 'mrope'],
    ['another activation', { hidden_act: 'quick_gelu' }, 'hidden_act'],
  ])('refuses %s', async (_, config, part) => {
    expectKvlrError(() => shapeOf(config), 'unsupported-feature', part);
  });

  it.each([
    ['heads that the KV heads do not divide', { num_key_value_heads: 3 }, 'num_key_value_heads'],
    ['a width that the heads do not divide', { hidden_size: 26 }, 'hidden_size'],
  ])('refuses %s', async (_, config, part) => {
    expectKvlrError(() => shapeOf(config), 'heads-not-divisible', new RegExp(`config.json.*${part}`));
  });

  it.each([
    ['a missing size', { vocab_size: undefined }, 'vocab_size'],
    ['a fractional size', { num_hidden_layers: 1.5 }, 'num_hidden_layers'],
    ['a size in words', { hidden_size: 'big' }, 'hidden_size'],
    ['no layers', { num_hidden_layers: 0 }, 'num_hidden_layers'],
    ['an epsilon below zero', { rms_norm_eps: -1 }, 'rms_norm_eps'],
    ['a flag that is no flag', { tie_word_embeddings: 'yes' }, 'tie_word_embeddings'],
    ['an odd head width', { head_dim: 7 }, 'head_dim'],
  ])('refuses %s', async (_, config, part) => {
    expectKvlrError(() => shapeOf(config), 'file-malformed', new RegExp(`config.json.*${part}`));
  });

  const layout = { keys: 'latent', key_slots: 1, key_slot_width: 12, value_slots: 2, value_slot_width: 6 };
  it.each([
    ['of a newer format', { format: 2, layers: [layout, layout] }, 'kvlr.format'],
    ['with a layer too few', { format: 1, layers: [layout] }, 'kvlr.layers'],
    ['with unknown keys', { format: 1, layers: [layout, { ...layout, keys: 'x' }] }, 'kvlr.layers[1].keys'],
    ['with slots that do not divide', { format: 1, layers: [layout, { ...layout, value_slots: 3 }] }, 'value_slots'],
    [
      'with a slot wider than all keys',
      { format: 1, layers: [layout, { ...layout, key_slot_width: 25 }] },
      'key_slot_width',
    ],
    [
      'with stock keys of another width',
      { format: 1, layers: [layout, { ...layout, keys: 'stock' }] },
      'key_slot_width',
    ],
    [
      'with rebuilt keys wider than their heads',
      { format: 1, layers: [layout, { ...layout, keys: 'rebuilt', key_slots: 2, key_slot_width: 13 }] },
      'key_slot_width',
    ],
    [
      'with values wider than a head',
      { format: 1, layers: [layout, { ...layout, value_slot_width: 7 }] },
      'value_slot_width',
    ],
  ])('refuses a kvlr section %s', async (_, kvlr, part) => {
    expectKvlrError(() => shapeOf({ kvlr }), 'file-malformed', part);
    expect(shapeOf({ kvlr: { format: 1, layers: [layout, layout] } }).layers[0]!.cache.keySlotWidth).toBe(12);
    const narrow = { ...layout, value_slots: 4, value_slot_width: 3 };
    expect(shapeOf({ kvlr: { format: 1, layers: [layout, narrow] } }).layers[1]!.cache.valueSlotWidth).toBe(3);
  });
});
