import { KvlrError } from '@kvlr/core';
import type { GroupCost } from '../costs/group-cost.ts';

/** Up to here a set of heads is a bit mask that a number holds exactly. */
const maskedHeads = 53;

/** A group cost that asks for each group once, heads ascending, and counts how often it asked. */
export class CachedCost {
  /** Different groups asked for so far. */
  evaluations = 0;
  private readonly known = new Map<number | string, number>();
  private readonly bits: Float64Array;

  /**
   * @param heads Heads there are.
   * @param cost Asked for groups of any size.
   */
  constructor(
    heads: number,
    private readonly cost: GroupCost,
  ) {
    this.bits = Float64Array.from({ length: heads }, (_, head) => 2 ** head);
  }

  /** @throws KvlrError 'numerical' when the cost is not a number. */
  of(group: readonly number[]): number {
    const key = this.keyOf(group);
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const heads = group.toSorted((left, right) => left - right);
    const value = this.cost(heads);
    if (Number.isNaN(value)) {
      throw new KvlrError('numerical', {
        message: `grouping search: expected a number as the cost of heads ${heads.join(', ')}, got NaN`,
        data: { heads },
      });
    }
    this.evaluations += 1;
    this.known.set(key, value);
    return value;
  }

  private keyOf(group: readonly number[]): number | string {
    if (this.bits.length > maskedHeads) return group.toSorted((left, right) => left - right).join(' ');
    let mask = 0;
    for (const head of group) mask += this.bits[head]!;
    return mask;
  }
}
