import { readFile } from 'node:fs/promises';
import { readTexts, windowsBySource } from '@kvlr/calibration';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { cacheSize } from '@kvlr/core';
import { referenceModelCard, referenceTexts } from '@kvlr/reference-model';
import { referenceModelDirectory } from '@kvlr/reference-model/node';
import { loadModel, selectBackend } from '@kvlr/runtime';
import { prepareNodeRuntime } from '@kvlr/runtime/node';
import { differenceByRange, useSoftwareGpu } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { evaluate } from './evaluate.ts';

const gpuProblem = useSoftwareGpu();
const { webgpuProblem } = await prepareNodeRuntime();
const checkpoint = await openCheckpointDirectory(referenceModelDirectory);

async function validationWindows(settings?: { length: number; windowsPerSource: number }) {
  const text = await readFile(referenceTexts.validation, 'utf8');
  return windowsBySource(readTexts([{ name: 'validation.jsonl', text }]), await checkpoint.tokenizer(), settings);
}

describe('the embedded model on its validation text', () => {
  it('has the perplexity that its card states, on wasm', { timeout: 90_000 }, async () => {
    const model = await loadModel(checkpoint, { backend: 'wasm' });
    const windows = await validationWindows();
    const result = await evaluate({ model, modelId: model.id, windows, cache: cacheSize(model.shape, 4) });
    model.dispose();
    expect(result.tokenCount).toBe(36_864);
    expect(Math.abs(result.perplexity.value / referenceModelCard.perplexity - 1)).toBeLessThan(0.001);
    for (const [source, perplexity] of Object.entries(referenceModelCard.perplexityBySource)) {
      expect(Math.abs(result.perplexityBySource[source]!.value / perplexity - 1), source).toBeLessThan(0.001);
    }
    expect(result.cache.bytesPerToken).toBe(2 * 6 * 8 * 32 * 4);
  });

  it('has the same logits on WebGPU as on wasm', { timeout: 90_000 }, async (context) => {
    const { adapter } = await selectBackend({ backend: 'auto' });
    if (!adapter) context.skip(`no WebGPU here: ${webgpuProblem ?? gpuProblem ?? 'no adapter answers'}`);
    const windows = (await validationWindows({ length: 33, windowsPerSource: 1 })).slice(0, 2);
    const logitsOn = async (backend: 'wasm' | 'webgpu') => {
      const model = await loadModel(checkpoint, { backend });
      const logits = [];
      for (const { tokenIds } of windows) logits.push(await model.logits(tokenIds));
      model.dispose();
      return logits;
    };
    const expected = await logitsOn('wasm');
    const received = await logitsOn('webgpu');
    for (const [index, logits] of received.entries()) {
      expect(differenceByRange(logits, expected[index]!)).toBeLessThan(1e-4);
    }
  });
});
