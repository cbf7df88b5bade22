import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { parseRecipeYaml } from '@kvlr/pipeline';
import { recipesDirectory } from './shipped-directories.ts';

/**
 * Reads the recipe of a file, or the one of this name among those that come with kvlr.
 * Throws KvlrError 'usage' for an unknown name; 'file-missing' or 'recipe-invalid' for a file.
 */
export async function readRecipe(nameOrPath: string): Promise<Recipe> {
  const path = /^[\w-]+$/.test(nameOrPath) ? pathOfRecipe(nameOrPath) : nameOrPath;
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new KvlrError('file-missing', {
      message: `readRecipe: expected a recipe at ${path}, found no readable file`,
      hint: 'Name one of those in kvlr compress --help, or a recipe.yaml such as the one beside every checkpoint that kvlr wrote.',
      data: { file: path },
      cause,
    });
  });
  return parseRecipeYaml(text, path);
}

/** Names of the recipes that come with kvlr. */
export function recipeNames(): string[] {
  const files = readdirSync(recipesDirectory).filter((file) => file.endsWith('.yaml'));
  return files.map((file) => basename(file, '.yaml')).sort();
}

function pathOfRecipe(name: string): string {
  const names = recipeNames();
  if (names.includes(name)) return join(recipesDirectory, `${name}.yaml`);
  throw new KvlrError('usage', {
    message: `readRecipe: expected one of ${names.join(', ')}, got "${name}"`,
    hint: 'Name one of these recipes, or give the path of a file, such as ./recipe.yaml.',
    data: { received: name },
  });
}
