/**
 * Cost of letting some heads share one, >= 0 and the smaller the better. Does not depend on the order of the heads. The
 * cost of a partition is the sum over its groups.
 */
export type GroupCost = (heads: readonly number[]) => number;
