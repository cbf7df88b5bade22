import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OnnxFloatDtype, overlayModel, stockShape } from '@kvlr/checkpoint';
import { openCheckpointDirectory, writeCheckpointDirectory, writeOnnxDirectory } from '@kvlr/checkpoint/node';
import { layerRope, type ModelSource, type RopeParameters } from '@kvlr/core';
import { loadModel } from '@kvlr/runtime';
import {
  asciiTokenizerFiles,
  createTinyModel,
  oracleLogits,
  randomTokenIds,
  type TinyModelSettings,
} from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openOnnxSession } from './support/onnx-session.ts';

/** Logits of the tiny models reach about 8; F16 keeps 11 bits. */
const tolerance: Record<OnnxFloatDtype, number> = { F32: 1e-4, F16: 0.05 };

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-onnx-'));
});
afterAll(() => rm(directory, { recursive: true }));

/** Writes the model as a checkpoint, then as ONNX. */
async function exportOnnx(model: ModelSource, settings: Parameters<typeof writeOnnxDirectory>[3]): Promise<string> {
  const checkpointDirectory = await mkdtemp(join(directory, 'checkpoint-'));
  await writeCheckpointDirectory(checkpointDirectory, model, { overwrite: true, extraFiles: asciiTokenizerFiles() });
  const source = await openCheckpointDirectory(checkpointDirectory);
  const output = `${checkpointDirectory}-onnx`;
  await writeOnnxDirectory(output, source, source, settings);
  await source.close();
  return output;
}

const llama3: RopeParameters = {
  type: 'llama3',
  theta: 10000,
  factor: 8,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalMaxPositionEmbeddings: 32,
};

/** Positions of heads of 16 in heads of 64. */
const fourTimes = layerRope(stockShape(createTinyModel({ headDim: 16, rope: llama3 }).shape, 1, 4), 0)!.rope;

const variants: [string, TinyModelSettings][] = [
  ['all heads, width 16', { headDim: 16 }],
  ['one KV head', { headDim: 16, numKeyValueHeads: 1 }],
  ['widths that attention does not rotate itself', { headDim: 24, numKeyValueHeads: 2 }],
  ['biases everywhere', { headDim: 16, numKeyValueHeads: 2, attentionBias: true, mlpBias: true }],
  ['tied embeddings', { headDim: 16, numKeyValueHeads: 2, tieWordEmbeddings: true }],
  ['linear rotary positions', { headDim: 16, rope: { type: 'linear', theta: 10000, factor: 2 } }],
  ['Llama 3 rotary positions', { headDim: 16, rope: llama3 }],
  ['wide heads, whose frequencies repeat', { headDim: 64, numKeyValueHeads: 1, rope: fourTimes }],
];

describe.each(['F32', 'F16'] as const)('ONNX Runtime with an exported model, %s', (dtype) => {
  const expectLogits = (received: Float32Array, expected: Float32Array) => {
    expect(received.length).toBe(expected.length);
    const worst = received.reduce((most, logit, i) => Math.max(most, Math.abs(logit - expected[i]!)), 0);
    expect(worst).toBeLessThan(tolerance[dtype]);
  };

  it.each(variants)('predicts what a Float64 decoder predicts: %s', async (_, settings) => {
    const model = createTinyModel({ vocabSize: 100, ...settings });
    const session = await openOnnxSession(await exportOnnx(model, { dtype }), dtype);
    const tokenIds = randomTokenIds(40, 100);
    const expected = Float32Array.from(await oracleLogits(model, tokenIds));

    const whole = await session.extend(tokenIds);
    expectLogits(whole, expected);

    // A prompt, then some tokens at once, then one by one, each behind the cache of those before.
    await session.reset();
    const parts = [await session.extend(tokenIds.subarray(0, 20)), await session.extend(tokenIds.subarray(20, 23))];
    for (let position = 23; position < 40; position++) {
      parts.push(await session.extend(tokenIds.subarray(position, position + 1)));
    }
    expectLogits(Float32Array.from(parts.flatMap((part) => [...part])), expected);
    await session.release();
  });

  it.each(['gelu', 'gelu_pytorch_tanh'] as const)('knows the activation %s', async (hiddenActivation) => {
    const tiny = createTinyModel({ vocabSize: 100, headDim: 16 });
    const shape = { ...tiny.shape, hiddenActivation };
    const model = overlayModel(tiny, { shape, tensors: new Map(), id: hiddenActivation });
    const session = await openOnnxSession(await exportOnnx(model, { dtype }), dtype);
    const tokenIds = randomTokenIds(10, 100);
    const kvlr = await loadModel(model, { backend: 'cpu' });
    expectLogits(await session.extend(tokenIds), await kvlr.logits(tokenIds));
    kvlr.dispose();
    await session.release();
  });

  it('reads weights that lie in files beside the graph', async () => {
    const model = createTinyModel({ vocabSize: 100, headDim: 16 });
    const output = await exportOnnx(model, { dtype, maxFileBytes: 8000 });
    const name = dtype === 'F32' ? 'model.onnx' : 'model_fp16.onnx';
    const files = await readdir(join(output, 'onnx'));
    expect(files).toEqual(expect.arrayContaining([name, `${name}_data`, `${name}_data_1`]));
    const session = await openOnnxSession(output, dtype);
    const tokenIds = randomTokenIds(10, 100);
    expectLogits(await session.extend(tokenIds), Float32Array.from(await oracleLogits(model, tokenIds)));
    await session.release();
  });
});
