import type { Recipe } from '@kvlr/core/schemas';
import { groupingStrategies } from '@kvlr/grouping';
import { resolveDistillation } from '../recipe/resolve-distillation.ts';
import { resolveRecovery } from '../recipe/resolve-recovery.ts';
import { type ArtefactKey, artefactKey } from '../store/artefact.ts';

/** What decides each artefact of a run: every key depends on those before it. */
export interface RunKeys {
  statistics: ArtefactKey;
  /** What layers lose when they are compressed alone: shared by runs with other totals and policies. */
  losses: ArtefactKey;
  /** The keys behind it depend on it only where the budget is not the uniform one. */
  budget: ArtefactKey;
  grouping: ArtefactKey;
  factors: ArtefactKey;
  recovery: ArtefactKey;
  evaluation: ArtefactKey;
}

export interface RunInputs {
  modelId: string;
  calibrationHash: string;
  evaluationHash: string;
  /** Hash of a grouping strategy of the caller's own. */
  groupingHash: string | undefined;
  /** Hash of a compression method of the caller's own. */
  methodHash: string | undefined;
  /** Hash of a budget policy of the caller's own. */
  budgetHash?: string | undefined;
  recipe: Recipe;
  keyValueHeads: number;
}

/** Raised whenever a stage computes something else from the same inputs: artefacts of older versions are made again. */
const computationVersion = 1;

/** The key of the statistics, which runs with different recipes share. */
export function statisticsKey(
  modelId: string,
  calibrationHash: string,
  calibration: Recipe['calibration'],
): Promise<ArtefactKey> {
  return artefactKey({ computationVersion, modelId, calibrationHash }, calibration);
}

/** The keys of all artefacts of a run. They are known before anything is computed. */
export async function runKeys(inputs: RunInputs): Promise<RunKeys> {
  const { modelId, calibrationHash, evaluationHash, groupingHash, methodHash, recipe, keyValueHeads } = inputs;
  const statistics = await statisticsKey(modelId, calibrationHash, recipe.calibration);
  const { policy, ...measurement } = recipe.budget;
  const losses = await artefactKey(
    { statistics, groupingHash, methodHash },
    { grouping: recipe.grouping, method: recipe.method, measurement },
  );
  const budget = await artefactKey({ losses, budgetHash: inputs.budgetHash }, { policy, keyValueHeads });
  const spreads = policy !== 'uniform' || inputs.budgetHash !== undefined;
  const grouping = await artefactKey(
    { statistics, groupingHash, ...(measuresMerges(inputs) && { methodHash, method: recipe.method }) },
    { grouping: recipe.grouping, keyValueHeads, ...(spreads && { budget }) },
  );
  const factors = await artefactKey({ grouping, methodHash }, { method: recipe.method });
  const recovery = await artefactKey({ factors, calibrationHash }, resolveRecovery(recipe.recovery));
  // Only a recipe that has a distillation names it in the key: those from before there was any keep theirs.
  const distillation = resolveDistillation(recipe.recovery);
  const judged = [recipe.evaluation, recipe.dtype, ...(distillation ? [distillation] : [])];
  const evaluation = await artefactKey({ recovery, evaluationHash }, judged);
  return { statistics, losses, budget, grouping, factors, recovery, evaluation };
}

/** Whether the grouping may ask what the method's merges cost, so that it depends on the method. */
function measuresMerges({ recipe, groupingHash }: RunInputs): boolean {
  return groupingHash !== undefined || groupingStrategies[recipe.grouping]?.needsMeasurement === true;
}
