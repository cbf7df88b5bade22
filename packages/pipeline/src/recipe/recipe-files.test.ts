import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compressionMethods } from '@kvlr/compression';
import { describe, expect, it } from 'vitest';
import { parseRecipe, parseRecipeYaml } from './parse-recipe.ts';

const directory = fileURLToPath(new URL('../../../../recipes/', import.meta.url));
const read = async (name: string) => parseRecipeYaml(await readFile(`${directory}${name}`, 'utf8'), name);

const defaultRows = { 'kvlr-half': 0.5, 'kvlr-quarter': 0.25, 'kvlr-eighth': 0.125 };

describe('the files in recipes/', () => {
  it('are one for each method and for each ratio of the default recipe, and all are in the table', async () => {
    const files = (await readdir(directory)).filter((name) => name.endsWith('.yaml'));
    const rows = [...Object.keys(compressionMethods), ...Object.keys(defaultRows)];
    expect(files.sort()).toEqual(rows.map((name) => `${name}.yaml`).sort());
    const table = await readFile(`${directory}README.md`, 'utf8');
    for (const file of files) expect(table).toContain(`[${file}](${file})`);
  });

  it.each(Object.keys(compressionMethods))('give the row of %s in the comparison', async (method) => {
    expect(await read(`${method}.yaml`)).toEqual(parseRecipe({ method, recovery: { preset: 'none' } }));
  });

  it.each(Object.entries(defaultRows))('give the default recipe as %s', async (name, keep) => {
    expect(await read(`${name}.yaml`)).toEqual(parseRecipe({ keyValueHeads: { keep } }));
  });
});
