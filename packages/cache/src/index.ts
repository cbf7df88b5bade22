export { builtInCodecs, codecRegistry } from './cache-codecs.ts';
export { type CacheName, formatCacheName, parseCacheName } from './cache-name.ts';
export { type GaussianLevels, gaussianLevels, nearestLevel } from './numbers/gaussian-levels.ts';
export { hadamard, hadamardSize } from './numbers/hadamard.ts';
export { builtInPolicies, policyRegistry } from './policies/cache-policies.ts';
export type { PolicyCache } from './policies/held-slot.ts';
export { PolicyLayer, type PolicyLayerShape, type PolicyStep } from './policies/policy-layer.ts';
export { rotationPartners, type SideStatisticsRequest, sideStatistics } from './side-statistics.ts';
export { requireCacheFits, type WindowReaderRequest, windowReader } from './window-reader.ts';
