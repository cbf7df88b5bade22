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
  return estimateCompression(await planCompression({ ...(await tinyRun()), recipe }), backend);
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

  it('takes less time for windows in native code, and as long for training', async () => {
    const recovery: Recovery = { preset: 'full', trainingWindows: 2, heldOutWindows: 1, windowLength: 32 };
    const plan = await planCompression({ ...(await tinyRun()), recipe: { ...tinyRecipe, recovery } });
    const [onBackend, native] = [estimateCompression(plan, 'wasm'), estimateCompression(plan, 'wasm', true)];
    const secondsOf = ({ stages }: typeof native, stage: string) =>
      stages.find(({ title }) => title === stage)!.seconds;
    expect(secondsOf(native, 'statistics')).toBeLessThan(secondsOf(onBackend, 'statistics'));
    expect(secondsOf(native, 'evaluation')).toBeLessThan(secondsOf(onBackend, 'evaluation'));
    expect(secondsOf(native, 'block reconstruction')).toBe(secondsOf(onBackend, 'block reconstruction'));
  });

  it('takes less time for a refit in native code, and as long for steps', async () => {
    const windows = { trainingWindows: 2, heldOutWindows: 1, windowLength: 32 };
    const secondsOf = async (recovery: Recovery, native: boolean) => {
      const recipe = { ...tinyRecipe, recovery: { ...windows, ...recovery } };
      const { stages } = estimateCompression(await planCompression({ ...(await tinyRun()), recipe }), 'wasm', native);
      return stages.find(({ title }) => title === 'block reconstruction')!.seconds;
    };
    expect(await secondsOf({ preset: 'refit' }, true)).toBeLessThan(await secondsOf({ preset: 'refit' }, false));
    const steps: Recovery = { preset: 'refit', steps: 1 };
    expect(await secondsOf(steps, true)).toBe(await secondsOf(steps, false));
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
