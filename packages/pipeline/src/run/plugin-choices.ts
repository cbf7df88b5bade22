import { type CompressionMethod, mergeCosts } from '@kvlr/compression';
import { type BudgetPolicy, type GroupingStrategy, Registry } from '@kvlr/core';
import { type NamedGrouping, namedGroupings } from '@kvlr/grouping';

/** The groupings that can be asked for by name: a search for each of the costs that compression knows. */
export const groupingStrategies = new Registry<NamedGrouping>({
  kind: 'grouping strategy',
  entries: namedGroupings(mergeCosts, 'lost-energy'),
});

/** A grouping strategy of the caller's own, instead of one named in the recipe. */
export interface GroupingChoice {
  strategy: GroupingStrategy;
  /** Hash of what decides its answers, for example of its source file: a changed strategy is asked again. */
  hash: string;
}

/** A budget policy of the caller's own, instead of one named in the recipe. */
export interface BudgetChoice {
  policy: BudgetPolicy;
  /** Hash of what decides its answers, for example of its source file: a changed policy is asked again. */
  hash: string;
}

/** A compression method of the caller's own, instead of one named in the recipe. */
export interface MethodChoice {
  method: CompressionMethod;
  /** Hash of what decides its factors, for example of its source file: they are computed again when it changes. */
  hash: string;
}
