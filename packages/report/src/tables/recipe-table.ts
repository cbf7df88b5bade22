import { left, type ReportTable } from './report-table.ts';

function flatten(value: unknown, path: string): [string, string][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const entries = Object.entries(value);
    if (entries.length > 0)
      return entries.flatMap(([key, inner]) => flatten(inner, path === '' ? key : `${path}.${key}`));
  }
  if (value === undefined || path === '') return [];
  return [[path, typeof value === 'string' ? value : JSON.stringify(value)]];
}

/** The recipe as a list of settings, nested ones by their path: "keys.weighting | query". */
export function recipeTable(recipe: Record<string, unknown>): ReportTable {
  return { caption: 'Recipe', columns: [left('Setting'), left('Value')], rows: flatten(recipe, '') };
}
