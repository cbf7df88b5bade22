import { compressionMethods, resolveMethod } from '@kvlr/compression';
import { KvlrError, type ModelShape } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { resolveGrouping } from '@kvlr/grouping';
import type { MethodChoice } from '../run/plugin-choices.ts';
import type { Candidate, ComparedGrouping } from './compare-candidate.ts';

/** What rows are asked for; see `ComparisonRequest`. */
export interface WantedRows {
  model: { shape: ModelShape };
  methods?: readonly string[] | undefined;
  ownMethods?: ReadonlyMap<string, MethodChoice> | undefined;
  groupings?: readonly ComparedGrouping[] | undefined;
  ratios?: readonly number[] | undefined;
}

/**
 * All rows that are possible, and in words those that are not.
 *
 * @throws KvlrError 'heads-not-divisible' when no ratio is possible; 'usage' for an unknown method or grouping.
 */
export function listCandidates(request: WantedRows, recipe: Recipe): { candidates: Candidate[]; notes: string[] } {
  const { numKeyValueHeads } = request.model.shape;
  const ratios = request.ratios ?? [1 / 2, 1 / 4, 1 / 8];
  const heads = (ratio: number) => numKeyValueHeads * ratio;
  const divides = (ratio: number) => Number.isInteger(heads(ratio)) && numKeyValueHeads % heads(ratio) === 0;
  const notes = ratios
    .filter((ratio) => !divides(ratio))
    .map(
      (ratio) =>
        `${Number((100 * ratio).toFixed(1))} % of ${numKeyValueHeads} KV heads is left out: it is no divisor of them.`,
    );
  const possible = ratios.filter(divides).map(heads);
  if (possible.length === 0) {
    throw new KvlrError('heads-not-divisible', {
      message: `compare: expected a ratio that divides the model's ${numKeyValueHeads} KV heads, got ${ratios.join(', ')}`,
      remedy: 'Choose other ratios.',
      data: { numKeyValueHeads, ratios },
    });
  }
  const withReconstruction = recipe.recovery.preset === 'none' ? [false] : [false, true];
  const { method } = recipe;
  requireMethod(request, method);
  if (request.groupings) {
    for (const { name, choice } of request.groupings) if (!choice) resolveGrouping(name);
    const candidates = request.groupings.flatMap((grouping) =>
      withReconstruction.flatMap((reconstruct) =>
        possible.map((keyValueHeads) => ({ method, keyValueHeads, reconstruct, grouping })),
      ),
    );
    return { candidates, notes };
  }
  const methods = request.methods ?? Object.keys(compressionMethods);
  for (const name of methods) requireMethod(request, name);
  const closedForms = methods.flatMap((name) =>
    possible.map((keyValueHeads) => ({ method: name, keyValueHeads, reconstruct: false })),
  );
  const recipes = withReconstruction.includes(true)
    ? possible.map((keyValueHeads) => ({ method, keyValueHeads, reconstruct: true }))
    : [];
  return { candidates: [...closedForms, ...recipes], notes };
}

function requireMethod({ ownMethods }: WantedRows, name: string): void {
  if (!ownMethods?.has(name)) resolveMethod(name);
}
