import type { Recipe } from '@kvlr/core/schemas';
import type { BudgetChoice, GroupingChoice } from '../run/plugin-choices.ts';

/** One row to be: a recipe's entries at one size. */
export interface Candidate {
  /** What the row is called in files and options, unique at each size, and in tables. */
  name: string;
  title: string;
  method: Recipe['method'];
  keyValueHeads: number;
  recovery: Recipe['recovery'];
  /** Rows keep the same in every layer, but for that of a recipe with a budget, and where budgets are compared. */
  budget: Recipe['budget'];
  /** Replaces the policy that the budget names. */
  budgetChoice?: BudgetChoice | undefined;
  /** Name under which what resuming needs lies, where it is not the row's own: rows that differ in their last stage share it. */
  artefacts?: string;
  /** Present where groupings are compared; else the recipe's own grouping holds for all rows. */
  grouping?: ComparedGrouping;
  /** Present where budgets are compared. */
  comparesBudgets?: true;
  /** Where groupings or budgets are compared: name of the row with the usual one and the same recovery. */
  usual?: string;
}

/** One of several groupings that are compared. */
export interface ComparedGrouping {
  /** Name of a grouping strategy, or the path that `choice` was loaded from. */
  name: string;
  choice?: GroupingChoice | undefined;
}

/** One of several budgets that are compared. */
export interface ComparedBudget {
  /** Name of a budget policy, or the path that `choice` was loaded from. */
  name: string;
  choice?: BudgetChoice | undefined;
}

/** A row of its own method and of what follows it, on the calibration windows of the recipe that is compared. */
export type ComparedRecipe = Pick<Recipe, 'method' | 'recovery'>;

/** Name under which the recipe itself, reconstruction included, stands among the methods. */
export const recipeRowName = 'default-recipe';
