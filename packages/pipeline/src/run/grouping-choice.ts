import type { GroupingStrategy } from '@kvlr/core';

/** A strategy of the caller's own, instead of one named in the recipe. */
export interface GroupingChoice {
  strategy: GroupingStrategy;
  /** Hash of what decides its answers, for example of its source file: a changed strategy is asked again. */
  hash: string;
}
