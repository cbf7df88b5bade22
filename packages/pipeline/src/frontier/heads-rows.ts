import { type ComparedRows, methodRows, type RowsRequest } from '../compare/rows.ts';
import { parseRecipe } from '../recipe.ts';

/**
 * Heads that a comparison at equal bytes sets beside the original's, at every ratio: its method with refitted output projections, and
 * the recipe itself where it goes beyond a closed form. None for a ratio of 1, and where the model has a single KV head.
 */
export function headsRows(request: RowsRequest): ComparedRows {
  const title = 'heads and bits at equal bytes';
  // All heads are the model's own.
  const ratios = request.ratios?.filter((ratio) => ratio < 1);
  if (request.model.shape.numKeyValueHeads === 1 || ratios?.length === 0) return { title, rows: [], notes: [] };
  const { method, headWidth } = parseRecipe(request.recipe);
  const refit = parseRecipe({ method, headWidth, recovery: { preset: 'refit' } });
  return {
    ...methodRows({ ...request, ratios, methods: [], recipes: new Map([['refit', refit]]) }),
    title,
  };
}
