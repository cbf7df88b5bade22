import type { CachedCost } from './cached-cost.ts';

/** A swap of two heads between two groups, and what it changes. */
export interface Swap {
  first: number;
  second: number;
  newFirst: number[];
  newSecond: number[];
  newFirstCost: number;
  newSecondCost: number;
  /** Change of the total cost. */
  change: number;
}

/** Groups with their costs. A swap touches two groups, so only these two are asked for again. */
export class Partition {
  readonly groups: number[][];
  private readonly costs: number[];

  constructor(
    groups: readonly (readonly number[])[],
    private readonly cost: CachedCost,
  ) {
    this.groups = groups.map((group) => [...group]);
    this.costs = this.groups.map((group) => cost.of(group));
  }

  get total(): number {
    return this.costs.reduce((sum, cost) => sum + cost, 0);
  }

  /** What exchanging member i of one group with member j of another would change. */
  weighSwap(first: number, i: number, second: number, j: number): Swap {
    const left = this.groups[first]!;
    const right = this.groups[second]!;
    const newFirst = left.with(i, right[j]!);
    const newSecond = right.with(j, left[i]!);
    const newFirstCost = this.cost.of(newFirst);
    const newSecondCost = this.cost.of(newSecond);
    const change = newFirstCost - this.costs[first]! + (newSecondCost - this.costs[second]!);
    return { first, second, newFirst, newSecond, newFirstCost, newSecondCost, change };
  }

  apply(swap: Swap): void {
    this.groups[swap.first] = swap.newFirst;
    this.groups[swap.second] = swap.newSecond;
    this.costs[swap.first] = swap.newFirstCost;
    this.costs[swap.second] = swap.newSecondCost;
  }
}

/** The same groups with heads ascending, ordered by their first heads: equal partitions become equal lists. */
export function canonicalGroups(groups: readonly (readonly number[])[]): number[][] {
  return groups
    .map((group) => group.toSorted((left, right) => left - right))
    .sort((left, right) => left[0]! - right[0]!);
}
