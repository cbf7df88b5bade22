import { applyCompression } from '@kvlr/checkpoint';
import { resolveMethod } from '@kvlr/compression';
import type { ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { resolveGrouping } from '@kvlr/grouping';
import { methodName } from '../recipe/method-name.ts';
import { gatherAttendedMoments } from '../run/gather-attended-moments.ts';
import type { GroupingChoice } from '../run/plugin-choices.ts';
import type { RunContext } from '../run/run-context.ts';
import type { RunKeys } from '../run/run-keys.ts';
import { chooseBudget } from '../stages/choose-budget.ts';
import { chooseGroups } from '../stages/choose-groups.ts';
import { computeFactors } from '../stages/compute-factors.ts';
import { recoverStudent } from '../stages/recover-student.ts';
import type { CandidateRequest } from './candidate-request.ts';

/** The model of one candidate, the groups of its layers, and how long it took: the stages of `compress` up to the judgement. */
export async function compressCandidate(
  context: RunContext,
  request: CandidateRequest,
  { recipe, keys, choice }: { recipe: Recipe; keys: RunKeys; choice: GroupingChoice | undefined },
): Promise<{ compressed: ModelSource; groups: number[][][]; seconds: number | undefined }> {
  const { candidate, model, statistics, runner, calibrationIds: tokenIds } = request;
  const { keyValueHeads } = candidate;
  const { calibration } = recipe;
  const method = request.ownMethods?.get(methodName(recipe.method))?.method ?? resolveMethod(recipe.method);
  const grouping = {
    model,
    statistics,
    strategy: choice?.strategy ?? resolveGrouping(recipe.grouping),
    label: recipe.grouping,
    method,
    blockInputs: request.blockInputs,
    workers: request.workers,
  };
  const budget = await chooseBudget(context, {
    ...grouping,
    settings: recipe.budget,
    choice: candidate.artefacts === undefined ? undefined : request.budget,
    keyValueHeads,
    runner,
    calibration,
    tokenIds,
    key: keys.budget,
    lossKey: keys.losses,
  });
  const counts = budget.unit === 'heads' ? budget.layers.map(({ keys: heads }) => heads) : keyValueHeads;
  const groups = await chooseGroups(context, { ...grouping, keyValueHeads: counts, key: keys.grouping });
  const layers = await computeFactors(context, {
    model,
    statistics,
    groups,
    method,
    ranks: budget.unit === 'ranks' ? budget.layers : undefined,
    attended: gatherAttendedMoments({ model, runner, calibration, tokenIds }),
    key: keys.factors,
  });
  const { model: compressed } = await recoverStudent(context, {
    teacher: model,
    student: applyCompression(model, layers),
    settings: recipe.recovery,
    tokenIds,
    key: keys.recovery,
  });
  const { stages } = context;
  // What an earlier run had done took time that nobody noted.
  const seconds = stages.some(({ resumed }) => resumed)
    ? undefined
    : stages.reduce((sum, stage) => sum + stage.seconds, 0);
  return { compressed, groups, seconds };
}
