import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { formatRecipeYaml, parseRecipe, parseRecipeYaml } from '@kvlr/pipeline';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runCli } from './support/run-cli.ts';
import { writeTinyCheckpoint, writeTinyInputs } from './support/tiny-files.ts';

let directory: string;
let texts: string[];
let recipe: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'kvlr-recover-'));
  await writeTinyCheckpoint(join(directory, 'model'));
  const inputs = await writeTinyInputs(join(directory, 'inputs'));
  texts = ['--calibration', inputs.calibration, '--eval-text', inputs.evaluation, '--backend', 'cpu'];
  recipe = join(directory, 'distil.yaml');
  const base = parseRecipeYaml(await readFile(inputs.recipe, 'utf8'));
  const distillation = { preset: 'light' as const, steps: 2, piecesPerStep: 1, evaluateEvery: 1, windowLength: 32 };
  const recovery = { ...base.recovery, preset: 'none' as const, distillation };
  await writeFile(recipe, formatRecipeYaml(parseRecipe({ ...base, recovery })));
});
afterAll(() => rm(directory, { recursive: true }));

const place = (name: string) => join(directory, name);

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
