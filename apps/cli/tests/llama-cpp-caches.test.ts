import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { builtInCodecs, windowReader } from '@kvlr/cache';
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

let directory: string;
beforeAll(async () => {
  await prepareNodeRuntime();
  directory = await mkdtemp(join(tmpdir(), 'kvlr-caches-'));
});
afterAll(() => rm(directory, { recursive: true }));

const subjects: [string, () => Promise<string>][] = [
  ['heads of 32', async () => referenceModelDirectory],
  ['heads of 64, which llama.cpp rotates', () => compressReference(join(directory, 'wide'), undefined, 2)],
];

describe.each(subjects)("kvlr behind llama.cpp's cache types: %s", (_, prepare) => {
  it('has the perplexity of llama.cpp with them, and loses what it loses', async () => {
    const checkpoint = await openCheckpointDirectory(await prepare());
    const { shape, id } = checkpoint;
    const gguf = join(directory, 'model.gguf');
    await writeGguf(gguf, checkpoint, checkpoint, { overwrite: true });
    const documents = await readDocuments(referenceTextPaths.validation);
    const windows = windowsBySource(documents, await checkpoint.tokenizer(), { length: 257, windowsPerSource: 2 });
    const model = await loadModel(checkpoint, { backend: 'wasm' });
    const lossOfLlamaCpp = async (cache: 'F32' | 'Q4_0') => {
      const llamaCpp = await openLlamaCppOracle(gguf, 257, cache);
      const losses: number[] = [];
      for (const { tokenIds } of windows) {
        const followed = (await llamaCpp.predict(tokenIds)).slice(0, -1);
        losses.push(...followed.map(({ actual }) => -actual!.logProbability));
      }
      await llamaCpp.dispose();
      return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
    };
    const cache = { codec: builtInCodecs.q4_0, window: 0, first: 0 };
    const { perplexity } = await evaluate({
      ...{ model: model.readThrough(windowReader({ shape, cache })), modelId: id },
      ...{ windows, cache: cacheSize(shape, 2) },
    });
    model.dispose();
    await checkpoint.close();
    const exact = await lossOfLlamaCpp('F32');
    const coded = await lossOfLlamaCpp('Q4_0');
    // A few thousand tokens: rounding alone moves single tokens by more than it moves their mean.
    expect(Math.abs(Math.log(perplexity.value) - coded)).toBeLessThan(0.004);
    expect(coded - exact).toBeGreaterThan(0);
  });
});
