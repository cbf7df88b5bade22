import { readFile, writeFile } from 'node:fs/promises';
import { formatRecipeYaml, parseRecipe, parseRecipeYaml } from '@kvlr/pipeline';
import { tinyDistillation, tinyRecipe } from '@kvlr/testkit';
import { afterAll, describe, expect, it } from 'vitest';
import { runCli, TinyRun } from './support/tiny-run.ts';

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const texts = [...tiny.texts, '--backend', 'cpu'];

const recipe = tiny.path('distil.yaml');
const recovery = { ...tinyRecipe.recovery, preset: 'none' as const, distillation: { ...tinyDistillation, steps: 2 } };
await writeFile(recipe, formatRecipeYaml(parseRecipe({ ...tinyRecipe, recovery })));

const place = (name: string) => tiny.path(name);

describe('kvlr recover', () => {
  it('trains a checkpoint back towards its teacher', async () => {
    const plain = ['compress', place('model'), '-o', place('small'), '--recipe', recipe, '--distill', 'none', ...texts];
    expect((await runCli(plain)).exitCode).toBe(0);
    const recover = ['recover', place('small'), '--teacher', place('model'), '-o', place('recovered')];
    const { exitCode, out, error } = await runCli([...recover, '--recipe', recipe, ...texts]);
    expect(exitCode, error).toBe(0);
    expect(out).toMatch(/Held-out KL {2}\d\.\d{4} -> \d\.\d{4}/);
    const written = parseRecipeYaml(await readFile(place('recovered/recipe.yaml'), 'utf8'));
    expect(written).toMatchObject({
      method: 'rope-averaged',
      keyValueHeads: 2,
      recovery: { distillation: { steps: 2 } },
    });
    const refused = await runCli([...recover, '--recipe', recipe, ...texts]);
    expect(refused).toMatchObject({ exitCode: 1, error: expect.stringContaining('--overwrite') });
  });

  it('wants a teacher, and something to train', async () => {
    const without = await runCli(['recover', place('small')]);
    expect(without).toMatchObject({ exitCode: 2, error: expect.stringContaining('--teacher') });
    const nothing = [
      'recover',
      place('small'),
      '--teacher',
      place('model'),
      '-o',
      place('nothing'),
      '--distill',
      'none',
    ];
    const refused = await runCli([...nothing, ...texts]);
    expect(refused).toMatchObject({ exitCode: 2, error: expect.stringContaining('--distill light or full') });
    const itself = await runCli(['recover', 'embedded', '--teacher', 'embedded', '-o', place('nothing')]);
    expect(itself).toMatchObject({ exitCode: 2, error: expect.stringContaining('Compress the model first') });
  });
});

describe('kvlr compress --distill', () => {
  it('distils with the numbers of the recipe', async () => {
    const argumentList = [
      'compress',
      place('model'),
      '-o',
      place('distilled'),
      '--recipe',
      recipe,
      '--distill',
      'full',
    ];
    const { exitCode, error } = await runCli([...argumentList, ...texts]);
    expect(exitCode, error).toBe(0);
    const { recovery } = parseRecipeYaml(await readFile(place('distilled/recipe.yaml'), 'utf8'));
    expect(recovery.distillation).toMatchObject({ preset: 'full', steps: 2 });
    expect(await readFile(place('distilled.run/report.md'), 'utf8')).toContain('Distilled on 64 tokens');
  });
});
