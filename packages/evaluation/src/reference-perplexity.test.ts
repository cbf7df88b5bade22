import { readFile } from 'node:fs/promises';
import { readTexts, windowsBySource } from '@kvlr/calibration';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { cacheSize } from '@kvlr/core';
import { referenceModelCard, referenceTexts } from '@kvlr/reference-model';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { loadModel } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { expect, it } from 'vitest';
import { evaluate } from './evaluate.ts';

it('the embedded model has the perplexity that its card states', { timeout: 600_000 }, async () => {
  await prepareNodeRuntime();
  const checkpoint = await openCheckpointDirectory(referenceModelDirectory);
  const text = await readFile(referenceTexts.validation, 'utf8');
  const windows = windowsBySource(readTexts([{ name: 'validation.jsonl', text }]), await checkpoint.tokenizer());
  const model = await loadModel(checkpoint, { backend: 'wasm' });
  const result = await evaluate({ model, modelId: model.id, windows, cache: cacheSize(model.shape, 4) });
  model.dispose();
  await checkpoint.close();
  expect(result.tokenCount).toBe(36_864);
  expect(Math.abs(result.perplexity.value / referenceModelCard.perplexity - 1)).toBeLessThan(0.001);
  for (const [source, perplexity] of Object.entries(referenceModelCard.perplexityBySource)) {
    expect(Math.abs(result.perplexityBySource[source]!.value / perplexity - 1), source).toBeLessThan(0.001);
  }
  expect(result.cache.bytesPerToken).toBe(2 * 6 * 8 * 32 * 4);
});
