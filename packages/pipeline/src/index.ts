export { compressionMethods } from '@kvlr/compression';
export { describeCourse, type Instruction, parseInstructions } from '@kvlr/recovery';
export {
  type CalibrationRunRequest,
  calibrate,
  type KeptStatistics,
  mergeStatisticsStores,
  readStatistics,
} from './calibrate.ts';
export type { RowColumns } from './compare/columns.ts';
export { type ComparisonRequest, compare } from './compare/compare.ts';
export {
  bestRecipes,
  budgetRows,
  type ComparedBudget,
  type ComparedGrouping,
  type ComparedRecipe,
  type ComparedRow,
  type ComparedRows,
  groupingRows,
  headWidthRows,
  initialisationRows,
  methodRows,
  type RowsRequest,
  recipeRowName,
} from './compare/rows.ts';
export {
  type CompressionRequest,
  type CompressionResult,
  compress,
  type FinishedModel,
  type RunSettings,
} from './compress.ts';
export { type CompressionEstimate, estimateCompression } from './estimate.ts';
export {
  type CacheDtypeEvaluation,
  type CacheDtypesRequest,
  type CheckpointEvaluationRequest,
  evaluateCacheDtypes,
  evaluateCheckpoint,
} from './evaluate/evaluate-checkpoint.ts';
export { evaluateTasks, type LoadedTask, type TasksRequest } from './evaluate/evaluate-tasks.ts';
export { evaluateLongContext, type LongContextEvaluation, type LongContextRequest } from './evaluate/long-context.ts';
export { compareRolling, evaluateRolling, type RollingEvaluation, type RollingRequest } from './evaluate/rolling.ts';
export { describeTaskCache, type TaskCache } from './evaluate/task-cache.ts';
export { type TaskEvaluation, taskReport } from './evaluate/task-report.ts';
export {
  type CacheStatisticsRequest,
  cacheStatistics,
  type FittedStatistics,
  gatherForCaches,
  needsStatistics,
} from './frontier/cache-statistics.ts';
export { cacheCodecs, cachePolicies, comparedCaches, type NamedCache, resolveCache } from './frontier/caches.ts';
export { type BytesComparisonRequest, compareBytes } from './frontier/compare-bytes.ts';
export { type CacheEngine, type CacheEngineName, cacheEngines } from './frontier/engines.ts';
export { generatedCache } from './frontier/generated-cache.ts';
export { headsRows } from './frontier/heads-rows.ts';
export { type CachePlanRequest, type PlannedCache, planCache } from './frontier/plan-cache.ts';
export { type HeadPrice, priceOfHeads, type ResultHeads, resolveKeyValueHeads } from './heads.ts';
export { threadBytes } from './memory-estimate.ts';
export type { EngineChoice, EngineRequest, NativeEngine } from './models/engine.ts';
export { attentionDtype, cacheElementBytes } from './models/facts.ts';
export type { RunnerRequest } from './models/runner.ts';
export type { GroupingQuestion, ModelInWorkers, ModelWorkers } from './models/workers.ts';
export { foreseeOutcome, type Outcome, type OutcomeRequest } from './outcome.ts';
export {
  type CompressionPlan,
  type PlanRequest,
  type PluginChoices,
  planCompression,
  type RunTexts,
} from './plan.ts';
export { type PlannedComparison, type PlannedComparisonRequest, planComparison } from './plan-comparison.ts';
export { formatRecipeYaml, parseRecipe, parseRecipeYaml } from './recipe.ts';
export {
  type CheckpointRecoveryRequest,
  type CheckpointRecoveryResult,
  type PlannedRecovery,
  recoverCheckpoint,
} from './recover.ts';
export type { StageTime } from './run/context.ts';
export {
  type BudgetChoice,
  budgetPolicies,
  type GroupingChoice,
  groupingStrategies,
  type MethodChoice,
} from './run/plugin-choices.ts';
export { artefactNames, MemoryRunStore, type RunStore } from './run/store.ts';
export { type CacheBudget, describeBudget, foreseeBudget } from './stages/budget.ts';
export type { Distillation } from './stages/distillation.ts';
export { type Evaluation, type LogitDifference, logitDifference } from './stages/evaluation.ts';
export { measureSpectra, type SpectraRequest } from './stages/spectra.ts';
