import { canonicalGroups, type Partition } from './partition.ts';

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
