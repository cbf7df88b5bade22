import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { applyCompression, type GgufDtype } from '@kvlr/checkpoint';
import { openSource, writeGguf } from '@kvlr/checkpoint/node';
import type { ModelSource } from '@kvlr/core';
import { loadModel, prepareNodeRuntime } from '@kvlr/runtime/node';
import { readGolden } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type GoldenChanges, openGolden } from './support/golden-checkpoint.ts';
import { openLlamaCppOracle } from './support/llama-cpp-oracle.ts';
import { poolHeads } from './support/pool-heads.ts';
import { topTwo } from './support/top-two.ts';

let directory: string;
beforeAll(async () => {
  await prepareNodeRuntime();
  directory = await mkdtemp(join(tmpdir(), 'kvlr-families-'));
});
afterAll(() => rm(directory, { recursive: true }));

type Opened = Awaited<ReturnType<typeof openGolden>>;

async function predictions(
  source: Opened,
  tokenIds: Int32Array,
  settings: { contextSize?: number; dtype?: GgufDtype; model?: ModelSource } = {},
) {
  const path = join(directory, 'model.gguf');
  await writeGguf(path, settings.model ?? source, source, { overwrite: true, dtype: settings.dtype });
  const oracle = await openLlamaCppOracle(path, settings.contextSize);
  const predicted = await oracle.predict(tokenIds);
  await oracle.dispose();
  return predicted;
}

/** What llama.cpp's likeliest tokens are, and their logits, beside what they should be. */
function expectAgreement(predicted: Awaited<ReturnType<typeof predictions>>, logits: Float32Array, tolerance: number) {
  const width = logits.length / predicted.length;
  for (const [position, { first }] of predicted.entries()) {
    const expected = logits.subarray(position * width, (position + 1) * width);
    const { first: best, margin } = topTwo(expected);
    expect(Math.abs(first.logit - expected[first.tokenId]!), `logit at ${position}`).toBeLessThan(tolerance);
    if (margin > 2 * tolerance) expect([position, first.tokenId]).toEqual([position, best]);
  }
}

async function ownLogits(source: ModelSource, tokenIds: Int32Array): Promise<Float32Array> {
  const model = await loadModel(source, { backend: 'wasm', weights: 'f32' });
  const logits = await model.logits(tokenIds);
  model.dispose();
  return logits;
}

describe('llama.cpp with an exported model', () => {
  // GELU comes from a table of binary16 numbers in llama.cpp.
  it.each([
    ['llama_mha', 1e-4],
    ['llama_gqa_bias', 1e-4],
    ['llama_llama3', 1e-4],
    ['llama_linear', 1e-4],
    ['llama_yarn', 1e-4],
    ['llama_headdim', 1e-4],
    ['qwen2_bias', 1e-4],
    ['qwen3', 1e-4],
    ['phi3_fused', 1e-4],
    ['phi', 1e-2],
    ['olmo', 1e-4],
    ['olmo2', 1e-4],
    ['stablelm_parallel', 1e-4],
    ['stablelm_qknorm', 1e-4],
    ['gemma', 1e-2],
    ['gpt_neox_parallel', 1e-2],
    ['gpt_neox_seq', 1e-2],
    ['gpt2', 1e-2],
    ['bloom', 1e-2],
    ['mpt_alibi', 1e-2],
    ['falcon_mqa', 1e-2],
    ['falcon_new', 1e-2],
    ['granite', 1e-4],
    ['cohere', 1e-4],
  ] as const)('predicts what transformers predicts: %s', async (name, tolerance) => {
    const { tokenIds, logits } = readGolden(name).windows[0]!;
    expectAgreement(await predictions(await openGolden(name), tokenIds), logits, tolerance);
  });

  // llama.cpp takes the factors of long texts wherever it makes room for more than the original context: the second prompt is long.
  it.each([
    ['phi3_longrope', 1, 40],
    ['phi3_partial', 1, 16],
    ['mistral', 0, 16],
    ['starcoder2', 0, 16],
    ['qwen2_swa', 0, 16],
  ] as const)(
    'predicts what transformers predicts before the window hides something: %s',
    async (name, prompt, length) => {
      const { tokenIds, logits } = readGolden(name).windows[prompt]!;
      const width = logits.length / tokenIds.length;
      const predicted = await predictions(await openGolden(name), tokenIds.slice(0, length), { contextSize: 64 });
      expectAgreement(predicted, logits.subarray(0, length * width), 1e-2);
    },
  );

  it.each([
    ['gemma2', { config: { query_pre_attn_scalar: 16 } }],
    ['gemma3_text', { config: { query_pre_attn_scalar: 16, sliding_window_pattern: 6 }, layers: 6 }],
    ['smollm3', { config: { no_rope_layers: null, layer_types: null }, layers: 6 }],
    ['olmo3', { config: { layer_types: null }, layers: 6 }],
  ] as [string, GoldenChanges][])(
    'predicts what kvlr predicts where transformers has more settings: %s',
    async (name, changes) => {
      const source = await openGolden(name, changes);
      const { tokenIds } = readGolden(name).windows[0]!;
      expectAgreement(await predictions(source, tokenIds), await ownLogits(source, tokenIds), 1e-2);
    },
  );

  it.each(['llama_mha', 'gpt2', 'gpt_neox_parallel', 'bloom', 'phi'])('takes fewer KV heads: %s', async (name) => {
    const source = await openGolden(name);
    const layers = source.shape.layers.map((_, layer) => poolHeads(source, layer, 2));
    const pooled = applyCompression(source, await Promise.all(layers));
    const { tokenIds } = readGolden(name).windows[0]!;
    expectAgreement(await predictions(source, tokenIds, { model: pooled }), await ownLogits(pooled, tokenIds), 1e-2);
  });

  it('takes Falcon with a norm for each block', async () => {
    const both = (name: string) =>
      name.includes('input_layernorm')
        ? ['ln_attn', 'ln_mlp'].map((own) => name.replace('input_layernorm', own))
        : [name];
    const source = await openGolden('falcon_mqa', {
      config: { new_decoder_architecture: true, num_kv_heads: 1, num_ln_in_parallel_attn: 2 },
      names: both,
    });
    expect(source.shape.blocks.before).toBe('each');
    const { tokenIds } = readGolden('falcon_mqa').windows[0]!;
    expectAgreement(await predictions(source, tokenIds), await ownLogits(source, tokenIds), 1e-2);
    const read = await openSource(join(directory, 'model.gguf'));
    expect(read.shape).toEqual(source.shape);
    await read.close();
  });

  // llama.cpp rounds what is multiplied with such weights to their type, too, or to 8 bits.
  it.each([
    ['F16', 'qwen2_bias', 0.05],
    ['F16', 'gemma', 0.05],
    ['F16', 'gpt2', 0.05],
    ['BF16', 'qwen3', 0.3],
    ['BF16', 'phi3_fused', 0.3],
    ['BF16', 'bloom', 0.3],
    ['Q8_0', 'llama_mha', 0.3],
    ['Q8_0', 'gpt_neox_seq', 0.3],
    ['Q4_0', 'llama_mha', 0.3],
    ['Q4_0', 'qwen3', 0.3],
  ] as const)('predicts from %s what kvlr predicts from the same file: %s', async (dtype, name, tolerance) => {
    const source = await openGolden(name);
    const { tokenIds } = readGolden(name).windows[0]!;
    const predicted = await predictions(source, tokenIds, { dtype });
    const read = await openSource(join(directory, 'model.gguf'));
    const stored = { F16: 'F16', BF16: 'BF16', Q8_0: 'F32', Q4_0: 'F32' }[dtype];
    expect(read.tensors.info(read.tensorName('outputWeight', 0)).dtype).toBe(stored);
    expectAgreement(predicted, await ownLogits(read, tokenIds), tolerance);
    await read.close();
  });
});
