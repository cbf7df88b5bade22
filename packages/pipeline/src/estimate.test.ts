import type { RecipeInput } from '@kvlr/core/schemas';
import { describe, expect, it } from 'vitest';
import { compress } from './compress.ts';
import { estimateCompression } from './estimate.ts';
import { planCompression } from './plan.ts';
import { tinyRecipe, tinyRun } from './testing/tiny-run.ts';

type Recovery = NonNullable<RecipeInput['recovery']>;

/** The windows of the presets, which a tiny text has not, are replaced by few and short ones. */
async function estimate(recovery: Recovery, backend: 'wasm' | 'cpu' = 'wasm') {
  const windows = { trainingWindows: 2, heldOutWindows: 1, windowLength: 32 };
  const recipe = { ...tinyRecipe, recovery: { ...windows, ...recovery } };
  return estimateCompression(await planCompression({ ...(await tinyRun()), recipe }), { backend });
}

describe('estimateCompression', () => {
  it('grows with the work that is asked for', async () => {
    const [none, light, full, slow] = [
      await estimate({ preset: 'none' }),
      await estimate({ preset: 'light' }),
      await estimate({ preset: 'full' }),
      await estimate({ preset: 'full' }, 'cpu'),
    ];
    expect(none.seconds).toBeGreaterThan(0);
    expect(light.seconds).toBeGreaterThan(none.seconds);
    expect(full.seconds).toBeGreaterThan(light.seconds);
    expect(slow.seconds).toBeGreaterThan(full.seconds);
    expect(light.runDirectoryBytes).toBeGreaterThan(none.runDirectoryBytes);
  });

  it('takes less time to train fewer heads', async () => {
    const recovery = { preset: 'full', trainingWindows: 2, heldOutWindows: 1, windowLength: 32 } as const;
    const [two, one] = await Promise.all(
      [2, 1].map(async (keyValueHeads) => {
        const recipe = { ...tinyRecipe, keyValueHeads, headWidth: 1, recovery };
        const { stages } = estimateCompression(await planCompression({ ...(await tinyRun()), recipe }), {
          backend: 'wasm',
        });
        return stages.find(({ title }) => title === 'block reconstruction')!.seconds;
      }),
    );
    expect(one).toBeLessThan(two!);
  });

  it('takes less time for windows and blocks in native code', async () => {
    const windows = { trainingWindows: 2, heldOutWindows: 1, windowLength: 32 };
    for (const recovery of [{ preset: 'refit' }, { preset: 'full', steps: 40 }] as const) {
      const recipe = { ...tinyRecipe, recovery: { ...windows, ...recovery } };
      const plan = await planCompression({ ...(await tinyRun()), recipe });
      const [onBackend, native] = [
        estimateCompression(plan, { backend: 'wasm' }),
        estimateCompression(plan, { backend: 'wasm', native: true }),
      ];
      for (const title of ['statistics', 'evaluation', 'block reconstruction']) {
        const [slow, fast] = [onBackend, native].map(({ stages }) => stages.find((stage) => stage.title === title)!);
        expect(fast!.seconds).toBeLessThan(slow!.seconds);
      }
      expect(native.blockSpeed).toBeGreaterThan(onBackend.blockSpeed!);
    }
  });

  it('knows that norms of the stream keep blocks on the backend', async () => {
    const plan = await planCompression(await tinyRun());
    const { blocks } = plan.model.shape;
    const shape = { ...plan.model.shape, blocks: { ...blocks, residual: 'normed' as const } };
    const normed = { ...plan, model: { ...plan.model, shape } };
    expect(estimateCompression(normed, { backend: 'wasm', native: true }).blockSpeed).toBe(
      estimateCompression(plan, { backend: 'wasm' }).assumedSpeed,
    );
  });

  it('believes what was probed', async () => {
    const plan = await planCompression(await tinyRun());
    const probed = { backend: 1e9, native: 4e9, moments: 1e9 };
    const secondsAt = (nativeBlocks: number) =>
      estimateCompression(plan, { backend: 'wasm', native: true, probed: { ...probed, nativeBlocks } }).seconds;
    expect(secondsAt(1e9)).toBeGreaterThan(secondsAt(8e9));
  });

  it('counts the distillation where there is one', async () => {
    const windowLength = 32;
    const [without, light, full] = [
      await estimate({ preset: 'none' }),
      await estimate({ preset: 'none', distillation: { preset: 'light', windowLength } }),
      await estimate({ preset: 'none', distillation: { preset: 'full', windowLength } }),
    ];
    expect(without.stages.map(({ title }) => title)).not.toContain('distillation');
    expect(light.stages.find(({ title }) => title === 'distillation')!.seconds).toBeGreaterThan(0);
    expect(full.seconds).toBeGreaterThan(light.seconds);
    expect(light.memoryBytes).toBeGreaterThan(without.memoryBytes);
    expect(light.runDirectoryBytes).toBeGreaterThan(without.runDirectoryBytes);
  });

  it('knows the size of the checkpoint', async () => {
    const { model: compressed } = await compress({
      ...(await tinyRun()),
      recipe: { ...tinyRecipe, recovery: { preset: 'none' } },
    });
    const { outputBytes, keyValueHeads } = await estimate({ preset: 'none' });
    expect(keyValueHeads).toBe(2);
    expect(outputBytes).toBe(compressed.tensors.list().reduce((sum, { byteLength }) => sum + byteLength, 0));
  });
});
