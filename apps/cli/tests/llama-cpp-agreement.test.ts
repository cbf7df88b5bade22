import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { windowsBySource } from '@kvlr/calibration';
import { openCheckpointDirectory, writeGguf } from '@kvlr/checkpoint/node';
import { cacheSize } from '@kvlr/core';
import { evaluate } from '@kvlr/evaluation';
import { referenceModelDirectory, referenceTextPaths } from '@kvlr/reference-model/node';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compressReference, readDocuments } from './support/compress-reference.ts';
import { openLlamaCppOracle } from './support/llama-cpp-oracle.ts';
import { prompts } from './support/prompts.ts';
import { topTwo } from './support/top-two.ts';

/** Positions whose two best tokens are closer than this in logits may be ranked either way by rounding. */
const decisiveMargin = 0.01;

let directory: string;
beforeAll(async () => {
  await prepareNodeRuntime();
  directory = await mkdtemp(join(tmpdir(), 'kvlr-agreement-'));
});
afterAll(() => rm(directory, { recursive: true }));

const subjects: [string, () => Promise<string>][] = [
  ['the original checkpoint', async () => referenceModelDirectory],
  ['the compressed checkpoint', () => compressReference(join(directory, 'quarter'))],
  ['KV heads that differ by layer', () => compressReference(join(directory, 'by-layer'), [8, 4, 2, 1, 2, 4])],
];

describe.each(subjects)('kvlr and llama.cpp on %s', (_, prepare) => {
  let engines: Awaited<ReturnType<typeof openBoth>>;
  beforeAll(async () => {
    engines = await openBoth(await prepare());
  });
  afterAll(() => engines.close());

  it('give a text the same token ids', () => {
    for (const prompt of prompts) expect(engines.llamaCpp.tokenize(prompt)).toEqual(engines.tokenizer.encode(prompt));
  });

  it('put the same token first, wherever the choice is clear', async () => {
    const { kvlr, llamaCpp, tokenizer } = engines;
    const choices: { prompt: string; position: number; margin: number; kvlr: number; llamaCpp: number }[] = [];
    for (const prompt of prompts) {
      const tokenIds = Int32Array.from([...tokenizer.prefixIds, ...tokenizer.encode(prompt)]);
      const logits = await kvlr.logits(tokenIds);
      for (const [position, { first, second }] of (await llamaCpp.predict(tokenIds)).entries()) {
        const row = logits.subarray(position * kvlr.vocabSize, (position + 1) * kvlr.vocabSize);
        const ours = topTwo(row);
        const margin = Math.min(ours.margin, first.logit - second.logit);
        choices.push({ prompt, position, margin, kvlr: ours.first, llamaCpp: first.tokenId });
      }
    }
    const clear = choices.filter(({ margin }) => margin > decisiveMargin);
    expect(clear.filter((choice) => choice.kvlr !== choice.llamaCpp)).toEqual([]);
    expect(clear.length).toBeGreaterThan(80);
  });

  it('have the same perplexity within 0.5 % on the same windows', async () => {
    const { kvlr, llamaCpp, tokenizer } = engines;
    const documents = await readDocuments(referenceTextPaths.validation);
    const windows = windowsBySource(documents, tokenizer, { length: 257, windowsPerSource: 2 });
    const ours = await evaluate({ model: kvlr, modelId: kvlr.id, windows, cache: cacheSize(kvlr.shape, 4) });
    const logProbabilities: number[] = [];
    for (const { tokenIds } of windows) {
      const followed = (await llamaCpp.predict(tokenIds)).slice(0, -1);
      logProbabilities.push(...followed.map(({ actual }) => actual!.logProbability));
    }
    expect(logProbabilities.length).toBe(ours.tokenCount);
    const sum = logProbabilities.reduce((total, logProbability) => total + logProbability, 0);
    const theirs = Math.exp(-sum / logProbabilities.length);
    expect(Math.abs(ours.perplexity.value / theirs - 1)).toBeLessThan(0.005);
  });
});

async function openBoth(checkpointDirectory: string) {
  const checkpoint = await openCheckpointDirectory(checkpointDirectory);
  const path = join(directory, 'model.gguf');
  await writeGguf(path, checkpoint, checkpoint, { overwrite: true });
  const llamaCpp = await openLlamaCppOracle(path);
  const kvlr = await loadModel(checkpoint, { backend: 'wasm' });
  return {
    tokenizer: await checkpoint.tokenizer(),
    llamaCpp,
    kvlr,
    async close() {
      kvlr.dispose();
      await llamaCpp.dispose();
      await checkpoint.close();
    },
  };
}
