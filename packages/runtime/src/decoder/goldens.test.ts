import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import type { LayerShape, ModelSource } from '@kvlr/core';
import { differenceByRange, goldenNames, readGolden } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { testedBackends } from '../testing/tested-backends.ts';
import { loadModel } from './load-model.ts';

/** Families that between them compute most of what a decoder can: an emulated GPU takes seconds for the shaders of one. */
const onGpu = ['bloom', 'gemma2', 'opt_postnorm', 'phi3_longrope', 'qwen3', 'stablelm_parallel'];
const cachedOnGpu = ['gemma2', 'qwen3'];
/** For an emulated GPU on busy processors. */
const patience = 120_000;

/**
 * The golden as a model. Falcon's penalties of distance count twice there: transformers' eager attention adds them to the scores and
 * to the mask; its usual attention, and the code that the models were trained with, add them once.
 */
async function openGolden(name: string) {
  const { directory, windows } = readGolden(name);
  const checkpoint = await openCheckpointDirectory(directory);
  const { shape } = checkpoint;
  const twice = (layer: LayerShape): LayerShape => {
    const { positions } = layer;
    if (positions.kind !== 'alibi' || positions.roundedScale === undefined) return layer;
    return { ...layer, positions: { ...positions, roundedScale: 2 * positions.roundedScale } };
  };
  const source: ModelSource = {
    id: checkpoint.id,
    shape: { ...shape, layers: shape.layers.map(twice) },
    tensors: checkpoint.tensors,
    tensorName: (role, layer) => checkpoint.tensorName(role, layer),
  };
  return { source, windows, close: () => checkpoint.close() };
}

const lastRow = (logits: Float32Array, vocabSize: number) => logits.subarray(logits.length - vocabSize);

const backends = (await testedBackends()).filter(({ backend }) => backend !== 'cpu');

describe.each(backends)("transformers' golden checkpoints on $backend", ({ backend, skip }) => {
  const tested = backend === 'wasm' ? goldenNames() : onGpu;

  it.skipIf(skip).each(tested)(
    '%s: has their logits',
    async (name) => {
      const { source, windows, close } = await openGolden(name);
      const model = await loadModel(source, { backend });
      for (const { tokenIds, logits } of windows) {
        expect(differenceByRange(await model.logits(tokenIds), logits)).toBeLessThan(1e-5);
      }
      model.dispose();
      await close();
    },
    patience,
  );

  const cached = backend === 'wasm' ? goldenNames() : cachedOnGpu;
  it.skipIf(skip).each(cached)(
    '%s: has their logits behind a cache',
    async (name) => {
      const { source, windows, close } = await openGolden(name);
      const model = await loadModel(source, { backend });
      for (const { tokenIds, logits, decoded = logits.subarray(-5 * model.vocabSize) } of windows) {
        const cache = await model.createCache(tokenIds.length);
        const prompt = tokenIds.length + 1 - decoded.length / model.vocabSize;
        const rows = [...(await model.extend(cache, tokenIds.subarray(0, prompt)))];
        for (const id of tokenIds.subarray(prompt)) rows.push(...(await model.extend(cache, [id])));
        expect(differenceByRange(rows, decoded)).toBeLessThan(1e-5);
        cache.dispose();
      }
      model.dispose();
      await close();
    },
    patience,
  );
});

describe.each(goldenNames())('%s', (name) => {
  it('continues a text greedily with the greatest logits of whole windows, weights packed or not', async () => {
    const { source, windows, close } = await openGolden(name);
    const [plain, packed] = [
      await loadModel(source, { backend: 'wasm' }),
      await loadModel(source, { backend: 'wasm', weights: 'f32' }),
    ];
    // Whole windows say what comes next where nothing in them changes as the text grows.
    const text = [...windows.findLast(({ decoded }) => decoded === undefined)!.tokenIds];
    const prompt = text.length;
    const expected = await packed.logits(Int32Array.from(text));
    expect(differenceByRange(expected, await plain.logits(Int32Array.from(text)))).toBeLessThan(1e-5);
    for await (const { tokenId } of packed.generate(text.slice(0, prompt), { maxNewTokens: 6 })) {
      const logits = lastRow(await plain.logits(Int32Array.from(text)), plain.vocabSize);
      expect(tokenId).toBe(logits.indexOf(Math.max(...logits)));
      text.push(tokenId);
    }
    expect(text).toHaveLength(prompt + 6);
    plain.dispose();
    packed.dispose();
    await close();
  });
});
