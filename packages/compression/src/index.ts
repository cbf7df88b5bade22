export { AttendedMoments, attendedMomentsBytes } from './attended/attended-moments.ts';
export type { BlockInputs } from './attended/attention.ts';
export { type KnapsackItem, solveKnapsack } from './budgets/knapsack.ts';
export { budgetPolicies, type NamedBudget } from './budgets/policies.ts';
export { lostRankEnergy, rankCandidates } from './budgets/ranks.ts';
export { spreadBudget } from './budgets/spread-budget.ts';
export { type CompressLayerRequest, compressLayer } from './compress-by-name.ts';
export { lostEnergy, lostKeyEnergy, lostValueEnergy } from './costs/lost-energy.ts';
export { mergeCosts } from './costs/merge-costs.ts';
export { type MergeError, mergeError } from './costs/merge-error.ts';
export { subspaceAffinity, weightSimilarity } from './costs/similarity.ts';
export { fitPhasors, type PhasorFactors, type PhasorField } from './factors/phasors.ts';
export { subspaceFactors } from './factors/subspace.ts';
export { approximation, leavesStock } from './key-parts.ts';
export { balanceKeyScales, type KeyScaleRequest } from './key-scales.ts';
export {
  combineMethod,
  type KeySide,
  keysOfPair,
  type MethodPair,
  resolveMethod,
  type ValueSide,
} from './methods/combine.ts';
export { compressionMethods } from './methods/methods.ts';
export {
  type KeyPlugin,
  keysFromPlugin,
  type MethodPlugin,
  methodFromPlugin,
  type ValuePlugin,
  valuesFromPlugin,
} from './methods/plugins.ts';
export * from './parts.ts';
