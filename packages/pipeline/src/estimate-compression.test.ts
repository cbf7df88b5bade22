import { describe, expect, it } from 'vitest';
import { compress } from './compress.ts';
import { estimateCompression } from './estimate-compression.ts';
import { parseRecipe } from './recipe/parse-recipe.ts';
import { openTinyCheckpoint, tinyRecipe, tinyTexts } from './testing/tiny-run.ts';

async function estimate(preset: 'none' | 'light' | 'full', backend: 'wasm' | 'cpu' = 'wasm') {
  const recipe = parseRecipe({ ...tinyRecipe, recovery: { preset } });
  return estimateCompression({ model: await openTinyCheckpoint(), recipe, backend, evaluationSources: 2 });
}

describe('estimateCompression', () => {
  it('grows with the work that is asked for', async () => {
    const [none, light, full, slow] = [
      await estimate('none'),
      await estimate('light'),
      await estimate('full'),
      await estimate('full', 'cpu'),
    ];
    expect(none.seconds).toBeGreaterThan(0);
    expect(light.seconds).toBeGreaterThan(none.seconds);
    expect(full.seconds).toBeGreaterThan(light.seconds);
    expect(slow.seconds).toBeGreaterThan(full.seconds);
    expect(light.runDirectoryBytes).toBeGreaterThan(none.runDirectoryBytes);
  });

  it('counts the distillation where there is one', async () => {
    const model = await openTinyCheckpoint();
    const estimated = (distillation?: { preset: 'light' | 'full' }) =>
      estimateCompression({
        model,
        recipe: parseRecipe({ ...tinyRecipe, recovery: { preset: 'none', distillation } }),
        backend: 'wasm',
        evaluationSources: 2,
      });
    const [without, light, full] = [estimated(), estimated({ preset: 'light' }), estimated({ preset: 'full' })];
    expect(without.stages.map(({ title }) => title)).not.toContain('distillation');
    expect(light.stages.find(({ title }) => title === 'distillation')!.seconds).toBeGreaterThan(0);
    expect(full.seconds).toBeGreaterThan(light.seconds);
    expect(light.memoryBytes).toBeGreaterThan(without.memoryBytes);
    expect(light.runDirectoryBytes).toBeGreaterThan(without.runDirectoryBytes);
  });

  it('knows the size of the checkpoint', async () => {
    const model = await openTinyCheckpoint();
    const { model: compressed } = await compress({
      model,
      texts: tinyTexts,
      recipe: { ...tinyRecipe, recovery: { preset: 'none' } },
      runtime: { backend: 'cpu' },
    });
    const { outputBytes, keyValueHeads } = await estimate('none');
    expect(keyValueHeads).toBe(2);
    expect(outputBytes).toBe(compressed.tensors.list().reduce((sum, { byteLength }) => sum + byteLength, 0));
  });

  it('refuses heads that do not divide', async () => {
    const recipe = parseRecipe({ ...tinyRecipe, keyValueHeads: 3 });
    const request = { model: await openTinyCheckpoint(), recipe, backend: 'wasm' as const, evaluationSources: 1 };
    expect(() => estimateCompression(request)).toThrowError(expect.objectContaining({ code: 'heads-not-divisible' }));
  });
});
