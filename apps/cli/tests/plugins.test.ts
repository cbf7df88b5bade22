import { cp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encodeSafetensors, tensorLayout } from '@kvlr/checkpoint';
import { openCheckpointDirectory } from '@kvlr/checkpoint/node';
import { architectureFromJson } from '@kvlr/checkpoint/schemas';
import { decoderTensors } from '@kvlr/core';
import { parseRecipeYaml } from '@kvlr/pipeline';
import { afterAll, describe, expect, it } from 'vitest';
import { examplePath, runCli, runJson, TinyRun } from './support/tiny-run.ts';

const strongestPairs = examplePath('keys/strongest-pairs.mjs');
const strongestValues = examplePath('values/strongest-coordinates.mjs');
const strongestCoordinates = examplePath('rope-strategies/strongest-coordinates.mjs');
const family = examplePath('architectures/renamed.json');

const tiny = await TinyRun.create();
afterAll(() => tiny.remove());
const { directory, model } = tiny;

const compressArguments = (checkpoint: string, output: string, ...more: string[]) => {
  const [command, , ...options] = tiny.compress(output, '--recover', 'none', ...more);
  return [command!, checkpoint, ...options];
};

describe('the two sides of a method', () => {
  const readTensors = async (output: string) => {
    const { tensors, tensorName, close } = await openCheckpointDirectory(join(directory, output));
    const read = (role: 'keyWeight' | 'valueWeight') => tensors.readFloat32(tensorName(role, 1));
    const weights = { keys: await read('keyWeight'), values: await read('valueWeight') };
    await close();
    return weights;
  };

  it('are taken from two methods by name', async () => {
    await runJson(compressArguments(model, 'mixed', '--keys', 'rope-exact', '--values', 'mean-pool'));
    await runJson(compressArguments(model, 'keys', '--method', 'rope-exact'));
    await runJson(compressArguments(model, 'values', '--method', 'mean-pool'));
    const [mixed, keys, values] = await Promise.all(['mixed', 'keys', 'values'].map(readTensors));
    expect(mixed).toEqual({ keys: keys!.keys, values: values!.values });
    const recipe = parseRecipeYaml(await readFile(join(directory, 'mixed', 'recipe.yaml'), 'utf8'));
    expect(recipe.method).toEqual({ keys: 'rope-exact', values: 'mean-pool' });
  });

  it('are taken from modules, and a recipe repeats them', async () => {
    await runJson(compressArguments(model, 'own', '--keys', strongestPairs, '--values', strongestValues));
    const { method, source } = parseRecipeYaml(await readFile(join(directory, 'own', 'recipe.yaml'), 'utf8'));
    expect(method).toEqual({ keys: strongestPairs, values: strongestValues });
    expect(source?.methodHash).toMatch(/^[0-9a-f]+$/);
    const repeat = ['--recipe', join(directory, 'own', 'recipe.yaml')];
    await runJson(compressArguments(model, 'repeated', ...repeat));
    expect(await readTensors('repeated')).toEqual(await readTensors('own'));
  });

  it('may be a RoPE strategy, whose layout the report names', async () => {
    const output = compressArguments(model, 'latent', '--rope-strategy', strongestCoordinates, '--values', 'svd-a');
    const { report } = await runJson(output);
    expect(report.resultShape.layers[0].cache).toMatchObject({ keys: 'latent', keySlots: 1, keySlotWidth: 16 });
    expect(report.result.cache.bytesPerToken).toBe(report.base.cache.bytesPerToken / 2);
    expect(await readFile(join(directory, 'latent', 'README.md'), 'utf8')).toContain('latent keys in the KV cache');
    const small = join(directory, 'latent');
    for (const more of [[], ['--dry-run']]) {
      const again = await runCli([...compressArguments(small, 'again', ...more), '--json']);
      expect(JSON.parse(again.out).error.code).toBe('unsupported-feature');
    }
    const both = compressArguments(model, 'both', '--rope-strategy', strongestCoordinates, '--keys', 'svd-a');
    expect((await runCli(both)).exitCode).toBe(2);
  });

  it('are the row of the recipe in a comparison', async () => {
    const recipe = join(directory, 'own-rows.yaml');
    const own = parseRecipeYaml(await readFile(tiny.recipe, 'utf8'));
    await writeFile(recipe, JSON.stringify({ ...own, method: { keys: strongestPairs, values: 'svd-a' } }));
    const wanted = ['--recipe', recipe, '--methods', 'mean-pool', '--budget', examplePath('budgets/taper.mjs')];
    const { report } = await runJson(tiny.compare('compared', ...wanted));
    const titles = report.rows.map(({ title }: { title: string }) => title);
    expect(titles).toEqual([
      'Mean-pool',
      `Recipe: Keys: ${strongestPairs}; values: SVD-a per layer, light block reconstruction, ${examplePath('budgets/taper.mjs')} budget`,
    ]);
  });

  it('are refused before the run where a module is none', async () => {
    const wrong = join(directory, 'wrong.mjs');
    await writeFile(wrong, 'export default 3;\n');
    const { exitCode, out } = await runCli([...compressArguments(model, 'wrong', '--values', wrong), '--json']);
    expect(exitCode).toBe(1);
    expect(JSON.parse(out).error).toMatchObject({ code: 'plugin-invalid', hint: expect.stringContaining('export') });
  });
});

describe('--architecture', () => {
  it('inspects, compresses and evaluates a model of a family of one’s own', async () => {
    const renamed = join(directory, 'renamed');
    await writeRenamedCheckpoint(renamed);
    const refused = await runCli(['inspect', renamed, '--json']);
    expect(JSON.parse(refused.out).error.code).toBe('unknown-architecture');

    const { shape } = await runJson(['inspect', renamed, '--architecture', family]);
    expect(shape).toMatchObject({ architecture: 'renamed', numKeyValueHeads: 4 });
    const { report } = await runJson(compressArguments(renamed, 'small-renamed', '--architecture', family));
    const small = join(directory, 'small-renamed');
    const harness = await runJson(tiny.evaluate(small, '--against', renamed, '--architecture', family));
    expect(harness.results.kvlr_texts['perplexity,none']).toBeCloseTo(report.result.perplexity.value, 4);

    const same = await runJson(compressArguments(model, 'small-llama'));
    expect(report.result.perplexity.value).toBe(same.report.result.perplexity.value);
    const config = JSON.parse(await readFile(join(small, 'config.json'), 'utf8'));
    expect(config).toMatchObject({ model_type: 'renamed', num_key_value_heads: 2 });
    const generate = ['--prompt', 'The sea', '-n', '4', '--backend', 'cpu', '--architecture', family];
    expect((await runJson(['generate', small, ...generate])).tokenIds.length).toBeGreaterThan(0);
  });

  it('names the field that is wrong', async () => {
    const wrong = join(directory, 'wrong.json');
    await writeFile(wrong, JSON.stringify({ like: 'llama', name: 'mine', tensors: { keyWeight: 'keys' } }));
    for (const [file, code] of [
      [wrong, 'plugin-invalid'],
      [join(directory, 'none.json'), 'file-missing'],
      [tiny.calibration, 'plugin-invalid'],
    ] as const) {
      const { exitCode, out } = await runCli(['inspect', model, '--architecture', file, '--json']);
      expect(exitCode).toBe(1);
      expect(JSON.parse(out).error.code).toBe(code);
    }
  });
});

/** The tiny model under the names of the example family. */
async function writeRenamedCheckpoint(output: string): Promise<void> {
  await cp(model, output, { recursive: true });
  const renamed = tensorLayout(architectureFromJson(JSON.parse(await readFile(family, 'utf8')), family), false);
  const original = await openCheckpointDirectory(model);
  const newNames = new Map(
    decoderTensors(original.shape).map(({ role, layer }) => [
      original.tensorName(role, layer),
      renamed.tensorName(role, layer),
    ]),
  );
  const tensors = await Promise.all(
    original.tensors.list().map(async ({ name, dtype, shape }) => {
      return { name: newNames.get(name)!, dtype, shape, bytes: await original.tensors.readBytes(name) };
    }),
  );
  await original.close();
  await writeFile(join(output, 'model.safetensors'), encodeSafetensors(tensors));
  const config = JSON.parse(await readFile(join(output, 'config.json'), 'utf8'));
  await writeFile(join(output, 'config.json'), JSON.stringify({ ...config, model_type: 'renamed' }));
}
