import { parseRecipe } from '../recipe/parse-recipe.ts';
import type { ComparedRecipe } from './candidate.ts';

/**
 * kvlr's recipes that go beyond a closed form without being the default one, by the names of their rows. recipes/NAME.yaml is
 * the same recipe as a file.
 */
export const bestRecipes: ReadonlyMap<string, ComparedRecipe> = new Map([
  ['rope-averaged-refit', parseRecipe({ method: 'rope-averaged', recovery: { preset: 'full', steps: 0 } })],
]);
