import { KvlrError } from '@kvlr/core';
import { type Recipe, recipeSchema } from '@kvlr/core/schemas';
import { parse, stringify } from 'yaml';

/**
 * Completes a recipe with its defaults.
 *
 * @throws KvlrError 'recipe-invalid' naming every entry that does not fit.
 */
export function parseRecipe(input: unknown, origin = 'recipe'): Recipe {
  const result = recipeSchema.safeParse(input ?? {});
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'the whole'}: ${issue.message}`);
  throw new KvlrError('recipe-invalid', {
    message: `parseRecipe: ${origin} does not fit: ${problems.join('; ')}`,
    hint: 'Correct or remove these entries; entries that are missing take their defaults.',
    data: { origin, problems },
  });
}

/** Reads recipe.yaml. Throws KvlrError 'recipe-invalid'. */
export function parseRecipeYaml(text: string, origin = 'recipe.yaml'): Recipe {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    throw new KvlrError('recipe-invalid', {
      message: `parseRecipeYaml: expected YAML in ${origin}, got: ${error instanceof Error ? error.message : error}`,
      hint: 'Correct the file, or leave it out to use the default recipe.',
      data: { origin },
      cause: error,
    });
  }
  return parseRecipe(document, origin);
}

/** Writes a recipe as YAML, defaults included, so that it means the same under a later version's defaults. */
export function formatRecipeYaml(recipe: Recipe): string {
  return stringify(recipe);
}
