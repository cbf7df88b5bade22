import type { DecoderShape } from './decoder-shape.ts';

/** Source KV heads that share a head of the result, one list per group, in the result's order. */
export type HeadGroups = readonly (readonly number[])[];

/** How many query heads there are, and how many KV heads they read. */
export type HeadCounts = Pick<DecoderShape, 'numAttentionHeads' | 'numKeyValueHeads'>;

/** 0..count-1. */
export function everyHead(count: number): number[] {
  return Array.from({ length: count }, (_, head) => head);
}

/** KV head that a query head reads: floor(h * K / H). */
export function keyValueHeadOf({ numAttentionHeads, numKeyValueHeads }: HeadCounts, queryHead: number): number {
  return Math.floor((queryHead * numKeyValueHeads) / numAttentionHeads);
}

/** Query heads that read one of these KV heads, ascending. */
export function queryHeadsOf(counts: HeadCounts, keyValueHeads: readonly number[]): number[] {
  return everyHead(counts.numAttentionHeads).filter((queryHead) =>
    keyValueHeads.includes(keyValueHeadOf(counts, queryHead)),
  );
}

/**
 * Source query head at each place of the result, so that the query heads of a group lie side by side and cache slots are
 * read in order. Within a group the source's order is kept; contiguous groups give the identity.
 */
export function queryOrder(counts: HeadCounts, groups: HeadGroups): number[] {
  return groups.flatMap((heads) => queryHeadsOf(counts, heads));
}

/** The same groups, the heads of each in the order in which its query heads read them. */
export function ascendingHeads(groups: HeadGroups): number[][] {
  return groups.map((heads) => heads.toSorted((left, right) => left - right));
}

/** Each head as a group of its own, in the order in which the query heads of `queryOrder` read them. */
export function separateHeads(groups: HeadGroups): number[][] {
  return ascendingHeads(groups).flatMap((heads) => heads.map((head) => [head]));
}

/** Groups of `size` neighbours: heads 0..size-1, then size..2*size-1, and so on. */
export function contiguousHeads(numHeads: number, size: number): number[][] {
  return Array.from({ length: numHeads / size }, (_, group) =>
    Array.from({ length: size }, (_, member) => group * size + member),
  );
}

/** Rows of a projection, or columns of W_O, that belong to some heads, in the order of `heads`. */
export function headComponents(heads: readonly number[], headDim: number): number[] {
  return heads.flatMap((head) => Array.from({ length: headDim }, (_, component) => head * headDim + component));
}
