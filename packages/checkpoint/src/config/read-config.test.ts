import { type DecoderShape, layerRope } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { findArchitecture } from '../architectures/families.ts';
import { goldens } from '../testing/goldens.ts';
import { alibiSlopes } from './positions.ts';
import { modelShapeFromConfig } from './read-config.ts';
import { configFromModelShape } from './write-config.ts';

const llamaConfig = {
  model_type: 'llama',
  hidden_size: 24,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  vocab_size: 50,
};
const ropeOf = (shape: DecoderShape) => layerRope(shape, 0)?.rope;
const golden = (name: string, config: Record<string, unknown> = {}) => ({ ...goldens[name]!.config, ...config });
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
    ['scores by layer', golden('gpt2', { scale_attn_by_inverse_layer_idx: true }), 'scale_attn_by_inverse_layer_idx'],
    ['quantised weights', { quantization_config: { quant_method: 'awq' } }, 'quantization_config'],
    ['quantised weights of MLX', { quantization: { group_size: 64, bits: 4 } }, 'quantization'],
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
    ['more layers than any model has', { num_hidden_layers: 5e9 }, 'num_hidden_layers'],
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

describe('modelShapeFromConfig of other families', () => {
  const shapeOfGolden = (name: string, config: Record<string, unknown> = {}) => {
    const whole = golden(name, config);
    return modelShapeFromConfig(whole, findArchitecture(whole.model_type));
  };
  const windows = ({ layers }: DecoderShape) => layers.map(({ window }) => window ?? 0);
  const kinds = ({ layers }: DecoderShape) => layers.map(({ positions }) => positions.kind);

  it.each<[string, Record<string, unknown>, number[]]>([
    ['mistral', {}, [16, 16, 16]],
    ['mistral', { sliding_window: undefined, max_position_embeddings: 32768 }, [4096, 4096, 4096]],
    ['mistral', { sliding_window: null, max_position_embeddings: 32768 }, [0, 0, 0]],
    ['qwen2_swa', {}, [0, 16, 16]],
    ['qwen2_swa', { max_window_layers: 0 }, [16, 16, 16]],
    ['qwen2_swa', { use_sliding_window: false }, [0, 0, 0]],
    ['qwen2_swa', { layer_types: ['sliding_attention', 'full_attention', 'full_attention'] }, [16, 0, 0]],
    ['gemma2', {}, [16, 0, 16]],
    ['gemma3_text', {}, [16, 16, 0]],
    ['gemma3_text', { sliding_window_pattern: 2 }, [16, 0, 16]],
    ['starcoder2', {}, [16, 16]],
  ])('reads the windows of %s with %j', (name, config, expected) => {
    expect(windows(shapeOfGolden(name, config))).toEqual(expected);
  });

  it('reads RoPE of two kinds of layers, in both spellings', () => {
    const [local, , full] = shapeOfGolden('gemma3_text').layers;
    expect(local!.positions).toMatchObject({ kind: 'rope', rope: { type: 'default', theta: 1e4 }, rotaryDim: 16 });
    expect(full!.positions).toMatchObject({ kind: 'rope', rope: { type: 'linear', theta: 1e6, factor: 8 } });
    const newer = {
      ...{ rope_theta: undefined, rope_scaling: undefined, rope_local_base_freq: undefined },
      rope_parameters: {
        sliding_attention: { rope_type: 'default', rope_theta: 1e4 },
        full_attention: { rope_type: 'linear', rope_theta: 1e6, factor: 8 },
      },
    };
    expect(shapeOfGolden('gemma3_text', newer)).toEqual(shapeOfGolden('gemma3_text'));
    expect(shapeOfGolden('gemma3_text', { rope_local_base_freq: undefined })).toEqual(shapeOfGolden('gemma3_text'));
  });

  it('leaves out the positions of some layers', () => {
    expect(kinds(shapeOfGolden('smollm3'))).toEqual(['rope', 'none', 'rope']);
    const byInterval = { no_rope_layers: undefined, no_rope_layer_interval: 3 };
    expect(kinds(shapeOfGolden('smollm3', byInterval))).toEqual(['rope', 'rope', 'none']);
    expectKvlrError(() => shapeOfGolden('smollm3', { no_rope_layers: [1] }), 'file-malformed', 'no_rope_layers');
  });

  it.each<[string, Record<string, unknown>, number]>([
    ['phi', {}, 4],
    ['phi3_partial', {}, 12],
    ['phi3_fused', {}, 8],
    ['stablelm_parallel', {}, 4],
    ['gpt_neox_parallel', {}, 4],
    ['gpt_neox_parallel', { rotary_pct: undefined }, 4],
    ['gpt_neox_seq', {}, 4],
    ['gptj', {}, 8],
  ])('rotates a part of the head in %s with %j', (name, config, rotaryDim) => {
    expect(shapeOfGolden(name, config).layers[0]!.positions).toMatchObject({ rotaryDim });
  });

  it('knows the older names of fields', () => {
    const { rotary_emb_base: _, ...positions } = golden('gpt_neox_parallel') as Record<string, unknown>;
    expect(ropeOf(shapeOfGolden('gpt_neox_parallel', { rotary_emb_base: 500 }))!.theta).toBe(500);
    const newer = { ...positions, rope_parameters: { rope_type: 'default', rope_theta: 500 } };
    expect(ropeOf(modelShapeFromConfig(newer, findArchitecture('gpt_neox')))!.theta).toBe(500);
    const { n_embed, ...bloom } = golden('bloom') as Record<string, unknown>;
    expect(modelShapeFromConfig({ ...bloom, hidden_size: n_embed }, findArchitecture('bloom'))).toEqual(
      shapeOfGolden('bloom'),
    );
  });

  it.each<[string, Record<string, unknown>, Partial<DecoderShape['blocks']>]>([
    ['phi', {}, { before: 'shared', parallel: true }],
    ['gpt_neox_parallel', {}, { before: 'each', parallel: true }],
    ['stablelm_parallel', { use_parallel_residual: false }, { before: 'each', parallel: false }],
    ['falcon_mqa', {}, { before: 'shared', parallel: true }],
    ['falcon_alibi', {}, { before: 'each', parallel: false }],
    ['falcon_mqa', { new_decoder_architecture: true, num_kv_heads: 2 }, { before: 'each', parallel: true }],
    [
      'falcon_mqa',
      { new_decoder_architecture: true, num_kv_heads: 2, num_ln_in_parallel_attn: 1 },
      { before: 'shared', parallel: true },
    ],
    ['gemma2', {}, { before: 'each', after: 'branch' }],
    ['olmo2', {}, { before: 'none', after: 'branch' }],
    ['opt_prenorm', {}, { before: 'each', after: 'none' }],
    ['opt_postnorm', {}, { before: 'none', after: 'stream' }],
    ['granite', {}, { residual: 'stream', residualScale: 0.5 }],
    ['bloom', { apply_residual_connection_post_layernorm: true }, { residual: 'normed' }],
  ])('reads how the blocks of %s with %j stand', (name, config, blocks) => {
    expect(shapeOfGolden(name, config).blocks).toMatchObject(blocks);
  });

  it('reads heads, caps and factors', () => {
    expect(shapeOfGolden('falcon_mqa').numKeyValueHeads).toBe(1);
    expect(shapeOfGolden('falcon_mqa', { new_decoder_architecture: true, num_kv_heads: 2 }).numKeyValueHeads).toBe(2);
    const gemma2 = shapeOfGolden('gemma2');
    expect(gemma2.attention).toMatchObject({ scoreScale: 24 ** -0.5, softCap: 2 });
    expect(gemma2.head).toMatchObject({ tied: true, softCap: 5 });
    expect(gemma2.embedding.scale).toBe(Math.sqrt(32));
    expect(shapeOfGolden('gemma2', { attn_logit_softcapping: undefined }).attention.softCap).toBe(50);
    expect(shapeOfGolden('gemma2', { attn_logit_softcapping: null }).attention.softCap).toBeUndefined();
    expect(shapeOfGolden('granite')).toMatchObject({
      embedding: { scale: 6 },
      attention: { scoreScale: 0.2 },
      head: { scale: 0.5 },
    });
    expect(shapeOfGolden('olmo').attention.clip).toBe(1);
    expect(shapeOfGolden('mpt_alibi', { attn_config: { softmax_scale: 1 } }).attention.scoreScale).toBe(1);
    expect(shapeOfGolden('opt_postnorm')).toMatchObject({
      embedding: { width: 16, learnedPositions: { count: 66, offset: 2 } },
    });
    expect(shapeOfGolden('opt_postnorm').head.norm).toBeUndefined();
    expect(shapeOfGolden('phi', { qk_layernorm: true }).attention.queryKeyNorm).toMatchObject({
      over: 'head',
      bias: true,
    });
    expect(shapeOfGolden('stablelm_parallel', { qk_layernorm: true }).attention.queryKeyNorm).toMatchObject({
      ...{ kind: 'layer', over: 'heads', bias: false },
    });
  });

  it('counts positions beyond the context of dynamic RoPE, and writes the context back', async () => {
    const stretched = { max_position_embeddings: 32, rope_scaling: { type: 'dynamic', factor: 2.7 } };
    const shape = shapeOf(stretched);
    expect(shape.maxPositionEmbeddings).toBe(86);
    expect(ropeOf(shape)).toMatchObject({ type: 'dynamic', factor: 2.7, originalMaxPositionEmbeddings: 32 });
    expect(shapeOf({ ...stretched, rope_scaling: { type: 'linear', factor: 2.7 } }).maxPositionEmbeddings).toBe(32);
    const written = configFromModelShape(shape, findArchitecture('llama'), 'float32');
    expect(written.max_position_embeddings).toBe(32);
    expect(modelShapeFromConfig(written, findArchitecture('llama'))).toEqual(shape);
  });

  it('takes the tanh form of GELU for Gemma, whatever older files call it', () => {
    expect(shapeOfGolden('gemma', { hidden_act: 'gelu' }).feedForward.activation).toBe('gelu_pytorch_tanh');
    expect(shapeOfGolden('bloom').feedForward.activation).toBe('gelu_pytorch_tanh');
    expect(shapeOfGolden('gpt2').feedForward.activation).toBe('gelu_pytorch_tanh');
    expect(shapeOfGolden('mpt_alibi').feedForward.activation).toBe('gelu');
  });
});

describe('alibiSlopes', () => {
  it('halves from head to head where there are eight', () => {
    const halves = [1, 2, 3, 4, 5, 6, 7, 8].map((power) => 2 ** -power);
    expect(alibiSlopes('bloom', 8)).toEqual(halves);
    expect(alibiSlopes('mpt', 8)).toEqual(halves);
  });

  it('puts heads beyond a power of two between the others, MPT in another order', () => {
    expect(alibiSlopes('bloom', 6)).toEqual([2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8, 2 ** -1, 2 ** -3]);
    expect(alibiSlopes('mpt', 6)).toEqual([2 ** -2, 2 ** -4, 2 ** -6, 2 ** -8, 2 ** -1, 2 ** -3]);
    expect(alibiSlopes('bloom', 12).slice(8)).toEqual([2 ** -0.5, 2 ** -1.5, 2 ** -2.5, 2 ** -3.5]);
    expect(alibiSlopes('mpt', 12).slice(0, 2)).toEqual([2 ** -1, 2 ** -2]);
  });
});
