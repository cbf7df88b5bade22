import { applyCompression } from '@kvlr/checkpoint';
import type { CompressionMethod } from '@kvlr/compression';
import type { CalibrationStatistics, GroupingStrategy, ModelSource } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import type { CacheBudget } from '../budget/cache-budget.ts';
import { gatherAttendedMoments } from '../calibration/gather-attended-moments.ts';
import type { RecordedInputs } from '../calibration/record-block-inputs.ts';
import type { ModelRunner } from '../models/model-runner.ts';
import type { BudgetChoice } from '../run/plugin-choices.ts';
import type { RunContext } from '../run/run-context.ts';
import type { RunKeys } from '../run/run-keys.ts';
import type { ModelWorkers } from '../workers/model-workers.ts';
import { chooseBudget } from './choose-budget.ts';
import { chooseGroups } from './choose-groups.ts';
import { computeFactors } from './compute-factors.ts';
import { type Recovery, recoverStudent } from './recover-student.ts';

export interface LayerCompressionRequest {
  model: ModelSource;
  recipe: Recipe;
  keyValueHeads: number;
  method: CompressionMethod;
  strategy: GroupingStrategy;
  /** Replaces the policy that the recipe names. */
  budget: BudgetChoice | undefined;
  statistics: CalibrationStatistics;
  runner: ModelRunner;
  workers: ModelWorkers | undefined;
  blockInputs: RecordedInputs;
  /** Tokens of the calibration text. */
  tokenIds: () => Promise<Int32Array>;
  keys: RunKeys;
}

export interface CompressedLayers extends Recovery {
  budget: CacheBudget;
  groups: number[][][];
}

/** The stages between statistics and judgement: budget, grouping, factors, recovery. */
export async function compressLayers(context: RunContext, request: LayerCompressionRequest): Promise<CompressedLayers> {
  const { model, recipe, keyValueHeads, method, statistics, runner, tokenIds, keys } = request;
  const { calibration } = recipe;
  const grouping = {
    model,
    statistics,
    strategy: request.strategy,
    label: recipe.grouping,
    method,
    blockInputs: request.blockInputs,
    workers: request.workers,
  };
  const budget = await chooseBudget(context, {
    ...grouping,
    settings: recipe.budget,
    choice: request.budget,
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
  const recovered = await recoverStudent(context, {
    teacher: model,
    student: applyCompression(model, layers),
    settings: recipe.recovery,
    tokenIds,
    key: keys.recovery,
  });
  return { ...recovered, budget, groups };
}
