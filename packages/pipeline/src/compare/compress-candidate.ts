import { resolveMethod } from '@kvlr/compression';
import type { ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { resolveGrouping } from '@kvlr/grouping';
import type { CacheBudget } from '../budget/cache-budget.ts';
import { methodName } from '../recipe/method-name.ts';
import type { GroupingChoice } from '../run/plugin-choices.ts';
import type { RunContext } from '../run/run-context.ts';
import type { RunKeys } from '../run/run-keys.ts';
import { compressLayers } from '../stages/compress-layers.ts';
import type { CandidateRequest } from './candidate-request.ts';

/** The model of one candidate, the groups of its layers, and how long it took: the stages of `compress` up to the judgement. */
export async function compressCandidate(
  context: RunContext,
  request: CandidateRequest,
  { recipe, keys, choice }: { recipe: Recipe; keys: RunKeys; choice: GroupingChoice | undefined },
): Promise<{ compressed: ModelSource; budget: CacheBudget; groups: number[][][]; seconds: number | undefined }> {
  const { candidate, model, statistics, runner, workers, blockInputs } = request;
  const {
    model: compressed,
    budget,
    groups,
  } = await compressLayers(context, {
    ...{ model, recipe, statistics, runner, workers, blockInputs, keys },
    keyValueHeads: candidate.keyValueHeads,
    method: request.ownMethods?.get(methodName(recipe.method))?.method ?? resolveMethod(recipe.method),
    strategy: choice?.strategy ?? resolveGrouping(recipe.grouping),
    budget: candidate.budgetChoice,
    tokenIds: request.calibrationIds,
  });
  const { earlier, stages } = context;
  const seconds = earlier && stages.reduce((sum, stage) => sum + stage.seconds, earlier.seconds);
  return { compressed, budget, groups, seconds };
}
