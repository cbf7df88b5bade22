export { AttendedMoments, attendedMomentsBytes } from './attended/attended-moments.ts';
export { budgetPolicies, type NamedBudget } from './budgets/budget-policies.ts';
export { lostRankEnergy } from './budgets/lost-rank-energy.ts';
export { policyFromModule } from './budgets/policy-from-module.ts';
export { rankCandidates } from './budgets/rank-candidates.ts';
export { resolveBudget } from './budgets/resolve-budget.ts';
export { spreadBudget } from './budgets/spread-budget.ts';
export { type SpreadItem, spreadTotal } from './budgets/spread-total.ts';
export { type CompressLayerRequest, compressLayer } from './compress-layer.ts';
export { type ComplexVector, fitPhasor, type Phasor, type PhasorField } from './factors/fit-phasor.ts';
export { subspaceFactors } from './factors/subspace-factors.ts';
export { alignedKeys } from './keys/aligned-keys.ts';
export { type AveragedKeySettings, averagedKeys } from './keys/averaged-keys.ts';
export { foldedKeys } from './keys/folded-keys.ts';
export { jointKeys } from './keys/joint-keys.ts';
export { type LatentKeySettings, latentKeys } from './keys/latent-keys.ts';
export { meanPoolKeys } from './keys/mean-pool-keys.ts';
export { type PhasorKeySettings, phasorKeys } from './keys/phasor-keys.ts';
export { type RebuiltKeySettings, rebuiltKeys } from './keys/rebuilt-keys.ts';
export { lostEnergyCost } from './lost-energy-cost.ts';
export type { BlockInputs } from './measured-error/attended-values.ts';
export { type MergeError, mergeError } from './measured-error/merge-error.ts';
export { compressionMethods, resolveMethod } from './methods/compression-methods.ts';
export { combineMethod, type KeySide, keysOfPair, type MethodPair, type ValueSide } from './plugins/combine-method.ts';
export { type MethodPlugin, methodFromModule } from './plugins/method-from-module.ts';
export { keyMethodFromModule, ropeStrategyFromModule, valueMethodFromModule } from './plugins/sides-from-module.ts';
export type {
  CompressedKeys,
  CompressionMethod,
  GroupAttendedMoments,
  GroupFactors,
  KeyMethod,
  RopeStrategy,
  SourceLayer,
  ValueMethod,
} from './ports.ts';
export { readAttentionWeights } from './read-attention-weights.ts';
export { alignedValues } from './values/aligned-values.ts';
export { attendedValueFactors } from './values/attended-value-factors.ts';
export { centredValues } from './values/centred-values.ts';
export { meanPoolValues } from './values/mean-pool-values.ts';
export { type SubspaceValueSettings, subspaceValues } from './values/subspace-values.ts';
