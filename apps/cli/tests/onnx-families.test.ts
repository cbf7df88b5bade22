import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { applyCompression, onnxContext } from '@kvlr/checkpoint';
import { writeOnnxDirectory } from '@kvlr/checkpoint/node';
import type { ModelSource } from '@kvlr/core';
import { loadModel, prepareNodeRuntime } from '@kvlr/runtime/node';
import { differenceByRange, expectKvlrError, randomTokenIds, readGolden } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openGolden } from './support/golden-checkpoint.ts';
import { openOnnxSession } from './support/onnx-session.ts';
import { poolHeads } from './support/pool-heads.ts';

let directory: string;
beforeAll(async () => {
  await prepareNodeRuntime();
  directory = await mkdtemp(join(tmpdir(), 'kvlr-onnx-families-'));
});
afterAll(() => rm(directory, { recursive: true }));

type Opened = Awaited<ReturnType<typeof openGolden>>;

/** Logits of a prompt read whole, and of the same read in pieces behind the cache: most of it, some tokens, then one by one. */
async function onnxLogits(model: ModelSource, source: Opened, tokenIds: Int32Array) {
  const output = join(directory, 'onnx');
  await writeOnnxDirectory(output, model, source, { overwrite: true });
  const session = await openOnnxSession(output);
  const whole = await session.extend(tokenIds);
  session.reset();
  const prompt = tokenIds.length - 6;
  const pieces = [tokenIds.subarray(0, prompt), tokenIds.subarray(prompt, prompt + 3)];
  for (let place = prompt + 3; place < tokenIds.length; place++) pieces.push(tokenIds.subarray(place, place + 1));
  const cached: number[] = [];
  for (const piece of pieces) cached.push(...(await session.extend(piece)));
  await session.release();
  return { whole, cached };
}

const families = [
  ...['llama_mha', 'llama_gqa_bias', 'llama_headdim', 'llama_linear', 'llama_llama3', 'llama_yarn', 'mistral'],
  ...[
    'qwen2_bias',
    'qwen2_swa',
    'qwen3',
    'smollm3',
    'phi',
    'phi3_fused',
    'phi3_longrope',
    'phi3_partial',
    'olmo',
    'olmo2',
  ],
  ...[
    'olmo3',
    'stablelm_parallel',
    'stablelm_qknorm',
    'gemma',
    'gemma2',
    'gemma3_text',
    'granite',
    'starcoder2',
    'cohere',
  ],
  ...['gpt_neox_parallel', 'gpt_neox_seq', 'falcon_mqa', 'falcon_new'],
];

describe('ONNX Runtime with an exported model', () => {
  it.each(families)('predicts what transformers predicts, window and all: %s', async (name) => {
    const source = await openGolden(name);
    const prompts = readGolden(name).windows.filter(({ tokenIds }) => tokenIds.length <= onnxContext(source.shape));
    expect(prompts.length).toBeGreaterThan(0);
    for (const { tokenIds, logits } of prompts) {
      const { whole, cached } = await onnxLogits(source, source, tokenIds);
      expect(differenceByRange(whole, logits)).toBeLessThan(1e-5);
      expect(differenceByRange(cached, logits)).toBeLessThan(1e-5);
    }
  });

  it.each(['mistral', 'qwen3', 'gemma2', 'phi3_fused'])('takes fewer KV heads: %s', async (name) => {
    const source = await openGolden(name);
    const layers = source.shape.layers.map((_, layer) => poolHeads(source, layer, 1, { biases: false }));
    const pooled = applyCompression(source, await Promise.all(layers));
    const { tokenIds } = readGolden(name).windows[0]!;
    const model = await loadModel(pooled, { backend: 'wasm' });
    const expected = await model.logits(tokenIds);
    await model.dispose();
    const { whole, cached } = await onnxLogits(pooled, source, tokenIds);
    expect(differenceByRange(whole, expected)).toBeLessThan(1e-5);
    expect(differenceByRange(cached, expected.subarray(expected.length - cached.length))).toBeLessThan(1e-5);
  });

  it('ends the context where the frequencies of Phi-3 begin to go by the length of the text', async () => {
    const source = await openGolden('phi3_longrope');
    const output = join(directory, 'context');
    await writeOnnxDirectory(output, source, source);
    const config = JSON.parse(await readFile(join(output, 'config.json'), 'utf8'));
    expect([source.shape.maxPositionEmbeddings, config.max_position_embeddings]).toEqual([64, 32]);
    const session = await openOnnxSession(output);
    await expect(session.extend(randomTokenIds(33, 128))).rejects.toThrow();
    await session.release();
  });

  it.each([
    ['bloom', 'ALiBi'],
    ['gpt2', 'learned positions'],
    ['opt_prenorm', 'learned positions'],
    ['falcon_alibi', 'ALiBi'],
  ])('is refused by name: %s', async (name, feature) => {
    const source = await openGolden(name);
    const refused = () => writeOnnxDirectory(join(directory, name), source, source);
    await expectKvlrError(refused, 'unsupported-feature', feature);
  });

  it('is refused where the classes of a family hold no fewer KV heads', async () => {
    const source = await openGolden('gpt_neox_seq');
    const layers = source.shape.layers.map((_, layer) => poolHeads(source, layer, 2));
    const pooled = applyCompression(source, await Promise.all(layers));
    const refused = () => writeOnnxDirectory(join(directory, 'native'), pooled, source);
    await expectKvlrError(refused, 'unsupported-feature', 'gpt_neox models hold as many KV heads as query heads');
  });
});
