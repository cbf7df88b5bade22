export { groupHeads } from './group-heads.ts';
export { groupingStrategies, type NamedGrouping } from './grouping-strategies.ts';
export { minimumCostPartition } from './partition/minimum-cost-partition.ts';
export { swapPartition } from './partition/swap-partition.ts';
export { resolveGrouping } from './resolve-grouping.ts';
export { contiguousGroups } from './strategies/contiguous-groups.ts';
export { lostEnergyGroups } from './strategies/lost-energy-groups.ts';
export { strategyFromModule } from './strategy-from-module.ts';
export { validateGroups } from './validate-groups.ts';
