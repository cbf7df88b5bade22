import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compressionMethods, resolveMethod } from '@kvlr/compression';
import { describe, expect, it } from 'vitest';
import { parseRecipe, parseRecipeYaml } from '../recipe.ts';
import { groupingStrategies } from '../run/plugin-choices.ts';
import { bestRecipes } from './rows.ts';

const directory = fileURLToPath(new URL('../../../../recipes/', import.meta.url));
const read = async (name: string) => parseRecipeYaml(await readFile(`${directory}${name}`, 'utf8'), name);
const files = (await readdir(directory)).filter((name) => name.endsWith('.yaml'));

describe('the files in recipes/', () => {
  it.each(files)('can be run, and are in the table: %s', async (file) => {
    const { method, grouping } = await read(file);
    resolveMethod(method);
    groupingStrategies.get(grouping);
    expect(await readFile(`${directory}README.md`, 'utf8')).toContain(`[${file}](${file})`);
  });

  it.each(compressionMethods.names)('give the row of %s in the comparison', async (method) => {
    expect(await read(`${method}.yaml`)).toEqual(parseRecipe({ method, headWidth: 1, recovery: { preset: 'none' } }));
  });

  it.each([...bestRecipes])('give the row of %s in the comparison', async (name, { method, headWidth, recovery }) => {
    expect(await read(`${name}.yaml`)).toEqual(parseRecipe({ method, headWidth, recovery }));
  });

  it('give the default recipe', async () => {
    expect(await read('default.yaml')).toEqual(parseRecipe({}));
  });
});
