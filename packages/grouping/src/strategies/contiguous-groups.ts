import type { GroupingStrategy } from '@kvlr/core';
import { contiguousPartition } from '../search/contiguous-partition.ts';

/**
 * Neighbours share: heads 0..t-1, then t..2t-1, and so on (Ainslie et al. 2023, arXiv 2305.13245). The query heads keep
 * their order, so nothing is permuted in the result.
 */
export const contiguousGroups: GroupingStrategy = ({ heads, groups }) => contiguousPartition(heads, heads / groups);
