export { type SearchEnd, type SearchResult, type SearchSettings, searchPartition } from './any-time-search.ts';
export { minimumCostPartition } from './exact-search.ts';
export { groupHeads, validateGroups } from './group-heads.ts';
export type { ScoredPartition } from './partition.ts';
export { type RescoringSettings, rescorePartitions } from './ranked-search.ts';
export {
  contiguousGroups,
  groupingByCost,
  type MeasuredGroupingSettings,
  measuredGrouping,
  type NamedGrouping,
  namedGroupings,
} from './strategies.ts';
