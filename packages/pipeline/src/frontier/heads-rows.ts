import { bestRecipes, type ComparedRows, methodRows, type RowsRequest } from '../compare/rows.ts';

/**
 * Heads that a comparison at equal bytes sets beside the original's, at every ratio: the closed forms with refitted output projections, and
 * the recipe itself where it goes beyond a closed form. None where the model has a single KV head.
 */
export function headsRows(request: RowsRequest): ComparedRows {
  const title = 'heads and bits at equal bytes';
  if (request.model.shape.numKeyValueHeads === 1 || request.ratios?.length === 0) return { title, rows: [], notes: [] };
  return { ...methodRows({ ...request, methods: [], recipes: bestRecipes }), title };
}
