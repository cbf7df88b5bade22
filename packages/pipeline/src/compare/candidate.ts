import type { Recipe } from '@kvlr/core/schemas';
import type { GroupingChoice } from '../run/plugin-choices.ts';

/** One row to be: a recipe's entries at one size. */
export interface Candidate {
  /** What the row is called in files and options, unique at each size, and in tables. */
  name: string;
  title: string;
  method: Recipe['method'];
  keyValueHeads: number;
  recovery: Recipe['recovery'];
  /** Rows keep the same in every layer, but for that of a recipe with a budget. */
  budget: Recipe['budget'];
  /** Name under which what resuming needs lies, where it is not the row's own: rows that differ in their last stage share it. */
  artefacts?: string;
  /** Present where groupings are compared; else the recipe's own grouping holds for all rows. */
  grouping?: ComparedGrouping;
}

/** One of several groupings that are compared. */
export interface ComparedGrouping {
  /** Name of a grouping strategy, or the path that `choice` was loaded from. */
  name: string;
  choice?: GroupingChoice | undefined;
}

/** A row of its own method and of what follows it, on the calibration windows of the recipe that is compared. */
export type ComparedRecipe = Pick<Recipe, 'method' | 'recovery'>;

/** Name under which the recipe itself, reconstruction included, stands among the methods. */
export const recipeRowName = 'default-recipe';
