import { applyCompression } from '@kvlr/checkpoint';
import type { LayerActivations, ModelSource } from '@kvlr/core';
import { createMatrix } from '@kvlr/linalg';
import { loadModel } from '@kvlr/runtime';
import { createPlantedModel, createTinyModel, randomTokenIds } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import type { BlockInputs } from '../attended/attention.ts';
import { compressLayer } from '../compress-by-name.ts';
import { readSourceLayer } from '../testing/compress-model.ts';
import { mergeError } from './merge-error.ts';

const windows = [randomTokenIds(12, 50), randomTokenIds(12, 50, 3)];
const settings = { seed: 5, numAttentionHeads: 8, numKeyValueHeads: 4, attentionBias: true };
const halves = [
  [0, 3],
  [2, 1],
];

/** What the runtime's first attention block reads and adds in every window. */
async function firstBlock(model: ModelSource): Promise<Required<Pick<LayerActivations, 'blockInput' | 'blockOutput'>>> {
  const runner = await loadModel(model, { backend: 'cpu' });
  const blockInput: number[] = [];
  const blockOutput: number[] = [];
  for (const tokenIds of windows) {
    await runner.forEachLayer(tokenIds, ['blockInput', 'blockOutput'], (activations) => {
      if (activations.layer > 0) return;
      blockInput.push(...activations.blockInput!);
      blockOutput.push(...activations.blockOutput!);
    });
  }
  runner.dispose();
  return { blockInput: Float32Array.from(blockInput), blockOutput: Float32Array.from(blockOutput) };
}

async function inputsOf(model: ModelSource): Promise<BlockInputs> {
  const { blockInput } = await firstBlock(model);
  const { hiddenSize } = model.shape;
  return {
    rows: createMatrix(blockInput.length / hiddenSize, hiddenSize, Float64Array.from(blockInput)),
    tokens: windows[0]!.length,
  };
}

describe('mergeError', () => {
  it.each([
    ...['rope-averaged', 'mean-pool', 'svd-a', 'palu', 'clover'].map((method) => ({ method, groups: halves, wide: 1 })),
    { method: 'rope-averaged', groups: [[2, 0, 1, 3]], wide: 2 },
  ])(
    "is the error of the runtime's attention block with groups $groups merged by $method, $wide wide",
    async ({ method, groups, wide }) => {
      const model = createTinyModel(settings);
      const layer = await readSourceLayer(model, 0);
      const compressed = applyCompression(
        model,
        await Promise.all(
          model.shape.layers.map(async (_, index) =>
            compressLayer({ ...(await readSourceLayer(model, index)), groups, method, headWidth: wide }),
          ),
        ),
      );
      const before = (await firstBlock(model)).blockOutput;
      const after = (await firstBlock(compressed)).blockOutput;
      const energy = before.reduce((sum, entry) => sum + entry ** 2, 0);
      const error = before.reduce((sum, entry, index) => sum + (entry - after[index]!) ** 2, 0);
      const measured = mergeError(layer, method, await inputsOf(model), wide)(groups);
      expect(measured).toBeGreaterThan(1e-3);
      expect(measured).toBeCloseTo(error / energy, 4);
    },
  );

  it.each([4, 8])(
    'is nothing for the heads of a planted group, and something for others (%d query heads)',
    async (numAttentionHeads) => {
      const model = createPlantedModel({ ...settings, numAttentionHeads, groups: halves });
      const error = mergeError(await readSourceLayer(model, 0), 'rope-averaged', await inputsOf(model));
      for (const group of halves) expect(error([group])).toBeLessThan(1e-8);
      expect(error(halves)).toBeLessThan(1e-8);
      for (const group of [
        [0, 1],
        [0, 2],
        [1, 3],
        [2, 3],
      ]) {
        expect(error([group])).toBeGreaterThan(1e-4);
      }
    },
  );

  it('is nothing for groups that are no larger than shared heads are wide', async () => {
    const model = createTinyModel(settings);
    const error = mergeError(await readSourceLayer(model, 0), 'rope-averaged', await inputsOf(model), 2);
    for (const group of [[3], [1, 2]]) expect(error([group])).toBeLessThan(1e-12);
    expect(error([[0, 1, 2]])).toBeGreaterThan(1e-4);
  });

  it('does not depend on the order of heads, and is nothing for heads on their own', async () => {
    const model = createTinyModel(settings);
    const error = mergeError(await readSourceLayer(model, 0), 'rope-averaged', await inputsOf(model));
    expect(error([[3, 0]])).toBeCloseTo(error([[0, 3]]), 6);
    expect(error([[2]])).toBeLessThan(1e-12);
  });
});
