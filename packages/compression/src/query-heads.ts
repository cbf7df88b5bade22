import type { DecoderShape } from '@kvlr/core';

type HeadCounts = Pick<DecoderShape, 'numAttentionHeads' | 'numKeyValueHeads'>;

/** KV head that a query head reads: floor(h * K / H). */
export function keyValueHeadOf({ numAttentionHeads, numKeyValueHeads }: HeadCounts, queryHead: number): number {
  return Math.floor((queryHead * numKeyValueHeads) / numAttentionHeads);
}

/** Query heads that read one of these KV heads, ascending. */
export function queryHeadsOf(shape: HeadCounts, keyValueHeads: readonly number[]): number[] {
  return Array.from({ length: shape.numAttentionHeads }, (_, queryHead) => queryHead).filter((queryHead) =>
    keyValueHeads.includes(keyValueHeadOf(shape, queryHead)),
  );
}

/**
 * Source query head at each place of the result, so that the query heads of a group lie side by side and cache slots are
 * read in order. Within a group the source's order is kept; contiguous groups give the identity.
 */
export function queryOrderOf(shape: HeadCounts, groups: readonly (readonly number[])[]): number[] {
  return groups.flatMap((heads) => queryHeadsOf(shape, heads));
}

/** Each head as a group of its own, in the order in which the query heads of `queryOrderOf` read them. */
export function separateHeads(groups: readonly (readonly number[])[]): number[][] {
  return groups.flatMap((heads) => [...heads].sort((left, right) => left - right).map((head) => [head]));
}
