import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { applyCompression, type HuggingFaceCheckpoint, overlayModel } from '@kvlr/checkpoint';
import { openCheckpointDirectory, writeGguf } from '@kvlr/checkpoint/node';
import type { ModelSource, RopeParameters } from '@kvlr/core';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { oracleLogits } from '@kvlr/testkit';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLlamaCppOracle } from './support/llama-cpp-oracle.ts';
import { packHeads } from './support/pack-heads.ts';
import { poolHeads } from './support/pool-heads.ts';

const texts = [
  'Call me Ishmael. Some years ago, never mind how long precisely',
  "It's the captain's ship; they'll sail at 10:30 on 1 March 1851, WON'T they?",
  'In the beginning\n\nGod created   the heaven\tand the earth. ',
  ' naïve café, “quoted” — 日本語 🐳 \u00a0end\r\n',
  '<s> is written here, and </s> too.',
  '',
];

let directory: string;
let checkpoint: HuggingFaceCheckpoint;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-llama-cpp-'));
  checkpoint = await openCheckpointDirectory(referenceModelDirectory);
});
afterAll(async () => {
  await checkpoint.close();
  await rm(directory, { recursive: true });
});

async function exportAndOpen(model: ModelSource) {
  const path = join(directory, 'model.gguf');
  await writeGguf(path, model, checkpoint, { overwrite: true });
  return openLlamaCppOracle(path);
}

describe('llama.cpp with an exported model', () => {
  it('gives the same token ids', async () => {
    const tokenizer = await checkpoint.tokenizer();
    const oracle = await exportAndOpen(checkpoint);
    for (const text of texts) expect([text, oracle.tokenize(text)]).toEqual([text, tokenizer.encode(text)]);
    await oracle.dispose();
  });

  const withRope = (rope: RopeParameters): ModelSource => {
    const { shape } = checkpoint;
    const positions = { kind: 'rope', rope, rotaryDim: shape.headDim, pairs: 'half-split' } as const;
    const layers = shape.layers.map((layer) => ({ ...layer, positions }));
    return overlayModel(checkpoint, { shape: { ...shape, layers }, tensors: new Map(), id: rope.type });
  };
  const llama3 = { lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositionEmbeddings: 64 };
  const variants: [string, () => ModelSource | Promise<ModelSource>][] = [
    ['the model as it is', () => checkpoint],
    ['linear rotary positions', () => withRope({ type: 'linear', theta: 10000, factor: 2 })],
    ['Llama 3 rotary positions', () => withRope({ type: 'llama3', theta: 10000, factor: 8, ...llama3 })],
    [
      'fewer KV heads, and biases',
      async () => {
        const layers = checkpoint.shape.layers.map((_, layer) => poolHeads(checkpoint, layer, 2));
        return applyCompression(checkpoint, await Promise.all(layers));
      },
    ],
    [
      'another number of KV heads in each layer, and biases',
      async () => {
        const counts = [8, 4, 2, 1, 2, 4];
        const layers = counts.map((heads, layer) => poolHeads(checkpoint, layer, heads));
        return applyCompression(checkpoint, await Promise.all(layers));
      },
    ],
    [
      'wide heads, whose frequencies repeat',
      async () => {
        const layers = checkpoint.shape.layers.map((_, layer) => packHeads(checkpoint, layer, 2));
        return applyCompression(checkpoint, await Promise.all(layers));
      },
    ],
  ];

  it.each(variants)('predicts what a Float64 decoder predicts: %s', async (_, createModel) => {
    const model = await createModel();
    const tokenizer = await checkpoint.tokenizer();
    const tokenIds = Int32Array.from([...tokenizer.prefixIds, ...tokenizer.encode(texts[0]!)]);
    const oracle = await exportAndOpen(model);

    const predictions = await oracle.predict(tokenIds);

    await oracle.dispose();

    const expected = await oracleLogits(model, tokenIds);

    for (const [position, { first, actual }] of predictions.entries()) {
      const logits = expected.subarray(position * model.shape.vocabSize, (position + 1) * model.shape.vocabSize);
      const best = logits.reduce((top, logit, id) => (logit > logits[top]! ? id : top), 0);
      expect([position, first.tokenId]).toEqual([position, best]);
      expect(first.logit).toBeCloseTo(logits[best]!, 4);
      const weight = logits.reduce((sum, logit) => sum + Math.exp(logit - logits[best]!), 0);
      // The last token is followed by none.
      const { tokenId, logProbability } = actual ?? { tokenId: best, logProbability: -Math.log(weight) };
      expect(logProbability).toBeCloseTo(logits[tokenId]! - logits[best]! - Math.log(weight), 3);
    }
  });
});
