import { type GroupCost, type HeadGroups, KvlrError } from '@kvlr/core';

/** Up to here a set of heads is a bit mask that a number holds exactly. */
const maskedHeads = 53;

/** A group cost that asks for each group once, heads ascending, and counts how often it asked. */
export class CachedCost {
  /** Different groups asked for so far. */
  evaluations = 0;
  private readonly known = new Map<number | string, number>();
  private readonly bits: Float64Array;

  /**
   * @param numHeads Heads there are.
   * @param cost Asked for groups of any size.
   */
  constructor(
    numHeads: number,
    private readonly cost: GroupCost,
  ) {
    this.bits = Float64Array.from({ length: numHeads }, (_, head) => 2 ** head);
  }

  /** @throws KvlrError 'numerical' when the cost is not a number. */
  of(group: readonly number[]): number {
    const key = this.keyOf(group);
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const heads = ascending(group);
    const value = this.cost(heads);
    if (Number.isNaN(value)) throw costIsNoNumber(heads);
    this.evaluations += 1;
    this.known.set(key, value);
    return value;
  }

  private keyOf(group: readonly number[]): number | string {
    if (this.bits.length > maskedHeads) return ascending(group).join(' ');
    let mask = 0;
    for (const head of group) mask += this.bits[head]!;
    return mask;
  }
}

export function costIsNoNumber(heads: readonly number[]): KvlrError {
  return new KvlrError('numerical', {
    message: `expected a number as the cost of heads ${heads.join(', ')}, got NaN`,
    hint: 'Look for extreme values in the weights or statistics of this layer, or in a cost of your own.',
    data: { heads },
  });
}

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
    groups: HeadGroups,
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
export function canonicalGroups(groups: HeadGroups): number[][] {
  return groups.map(ascending).sort((left, right) => left[0]! - right[0]!);
}

function ascending(group: readonly number[]): number[] {
  return group.toSorted((left, right) => left - right);
}

export interface ScoredPartition {
  /** Heads ascending in each group, groups by their first heads. */
  groups: number[][];
  cost: number;
}

/** The best different partitions met so far, the cheapest first; of equal cost, the one met first. */
export class BestPartitions {
  private readonly kept: (ScoredPartition & { key: string })[] = [];

  constructor(private readonly capacity: number) {}

  get best(): ScoredPartition {
    return this.kept[0]!;
  }

  get all(): ScoredPartition[] {
    return this.kept.map(({ groups, cost }) => ({ groups, cost }));
  }

  offer(partition: Partition): void {
    const cost = partition.total;
    const { kept, capacity } = this;
    if (kept.length === capacity && !(cost < kept[capacity - 1]!.cost)) return;
    const groups = canonicalGroups(partition.groups);
    const key = groups.map((group) => group.join(' ')).join(',');
    if (kept.some((other) => other.key === key)) return;
    const place = kept.findIndex((other) => cost < other.cost);
    kept.splice(place === -1 ? kept.length : place, 0, { groups, cost, key });
    if (kept.length > capacity) kept.pop();
  }
}
