import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeFloats, encodeFloats, overlayModel, stockShape } from '@kvlr/checkpoint';
import { openCheckpointDirectory, writeCheckpointDirectory, writeOnnxDirectory } from '@kvlr/checkpoint/node';
import { type DenseTensor, decoderTensors, layerRope, type ModelSource, type RopeParameters } from '@kvlr/core';
import { loadModel } from '@kvlr/runtime';
import {
  asciiTokenizerFiles,
  createTinyModel,
  differenceByRange,
  oracleLogits,
  randomTokenIds,
  type TinyModelSettings,
} from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openOnnxSession } from './support/onnx-session.ts';

/** Logits of the tiny models reach about 8; F16 keeps 11 bits. */
const tolerance: Record<'F32' | 'F16', number> = { F32: 1e-4, F16: 0.05 };

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
    const session = await openOnnxSession(await exportOnnx(model, { dtype }));
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
    const session = await openOnnxSession(await exportOnnx(model, { dtype }));
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
    const session = await openOnnxSession(output);
    const tokenIds = randomTokenIds(10, 100);
    expectLogits(await session.extend(tokenIds), Float32Array.from(await oracleLogits(model, tokenIds)));
    await session.release();
  });
});

/** What 4 bits make of each matrix but the embedding, which is of type F16; as GGUF's Q4_0 has it. */
async function quantised(model: ModelSource): Promise<ModelSource> {
  const tensors = new Map<string, DenseTensor>();
  for (const { role, layer, shape } of decoderTensors(model.shape)) {
    if (shape.length === 1) continue;
    const name = model.tensorName(role, layer);
    const data = await model.tensors.readFloat32(name);
    const rounded = role === 'embedding' ? decodeFloats('F16', encodeFloats('F16', data)) : roundToFourBits(data);
    tensors.set(name, { shape, data: rounded });
  }
  // Of tied matrices the embedding keeps 16 bits, the head 4.
  const head = 'rounded head';
  const embedding = await model.tensors.readFloat32(model.tensorName('embedding'));
  const { vocabSize, hiddenSize } = model.shape;
  tensors.set(head, { shape: [vocabSize, hiddenSize], data: roundToFourBits(embedding) });
  const overlay = overlayModel(model, { shape: model.shape, tensors, id: 'quantised' });
  if (!model.shape.head.tied) return overlay;
  return {
    id: overlay.id,
    shape: { ...model.shape, head: { ...model.shape.head, tied: false } },
    tensors: overlay.tensors,
    tensorName: (role, layer) => (role === 'languageModelHead' ? head : model.tensorName(role, layer)),
  };
}

/** Blocks of 32: the number of the largest magnitude becomes -8 times the scale, a binary16 number. */
function roundToFourBits(values: Float32Array): Float32Array {
  const result = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += 32) {
    const block = values.subarray(start, start + 32);
    const largest = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const scale = largest / -8;
    const [stored] = decodeFloats('F16', encodeFloats('F16', Float32Array.of(scale)));
    block.forEach((value, index) => {
      const steps = scale === 0 ? 8 : Math.min(15, Math.floor(value / scale + 8.5));
      result[start + index] = stored! * (steps - 8);
    });
  }
  return result;
}

describe('ONNX Runtime with matrices of 4 bits', () => {
  it.each([
    ['fewer KV heads', { headDim: 16, numKeyValueHeads: 2, hiddenSize: 64, intermediateSize: 96 }],
    ['tied embeddings', { headDim: 16, hiddenSize: 64, intermediateSize: 96, tieWordEmbeddings: true }],
  ] as [string, TinyModelSettings][])(
    'predicts what a Float64 decoder predicts of the rounded weights: %s',
    async (_, settings) => {
      const model = createTinyModel({ vocabSize: 100, ...settings });
      const output = await exportOnnx(model, { dtype: 'Q4_0' });
      expect(await readdir(join(output, 'onnx'))).toEqual(['model_q4.onnx']);
      const session = await openOnnxSession(output);
      const tokenIds = randomTokenIds(24, 100);
      const logits = await session.extend(tokenIds);
      await session.release();
      const expected = Float32Array.from(await oracleLogits(await quantised(model), tokenIds));
      expect(differenceByRange(logits, expected)).toBeLessThan(1e-4);
      expect(differenceByRange(logits, Float32Array.from(await oracleLogits(model, tokenIds)))).toBeGreaterThan(1e-3);
    },
  );
});
