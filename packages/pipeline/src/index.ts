export { budgetPolicies, compressionMethods } from '@kvlr/compression';
export { groupingStrategies } from '@kvlr/grouping';
export { type CacheBudget, describeBudget } from './budget/cache-budget.ts';
export { foreseeBudget } from './budget/foresee-budget.ts';
export { measureSpectra, type SpectraRequest } from './calibration/measure-spectra.ts';
export { bestRecipes } from './compare/best-recipes.ts';
export { type ComparedBudget, type ComparedGrouping, type ComparedRecipe, recipeRowName } from './compare/candidate.ts';
export { type ComparisonRequest, compare } from './compare.ts';
export { type CompressionRequest, type CompressionResult, compress, type FinishedModel } from './compress.ts';
export { type CompressionEstimate, type EstimateRequest, estimateCompression } from './estimate-compression.ts';
export {
  type CacheDtypeEvaluation,
  type CacheDtypesRequest,
  evaluateCacheDtypes,
} from './evaluation/evaluate-cache-dtypes.ts';
export { type CheckpointEvaluationRequest, evaluateCheckpoint } from './evaluation/evaluate-checkpoint.ts';
export { type LogitDifference, logitDifference } from './evaluation/logit-difference.ts';
export type { RunnerRequest } from './models/model-runner.ts';
export { formatRecipeYaml, parseRecipe, parseRecipeYaml } from './recipe/parse-recipe.ts';
export { resolveKeyValueHeads } from './recipe/resolve-key-value-heads.ts';
export {
  type CheckpointRecoveryRequest,
  type CheckpointRecoveryResult,
  recoverCheckpoint,
} from './recover.ts';
export type { BudgetChoice, GroupingChoice, MethodChoice } from './run/plugin-choices.ts';
export type { StageTime } from './run/run-context.ts';
export type { Distillation } from './stages/distill-student.ts';
export { attentionDtype, cacheElementBytes, inspectModel, type ModelInspection } from './stages/inspect-model.ts';
export type { Judgement } from './stages/judge.ts';
export { hashBytes } from './store/hash.ts';
export { MemoryRunStore } from './store/memory-run-store.ts';
export { artefactNames, type RunStore } from './store/run-store.ts';
export type { ModelInWorkers, ModelWorkers } from './workers/model-workers.ts';
