import { describe, expect, it } from 'vitest';
import {
  ascendingHeads,
  contiguousHeads,
  headComponents,
  keyValueHeadOf,
  queryHeadsOf,
  queryOrder,
  separateHeads,
} from './heads.ts';

const shape = { numAttentionHeads: 8, numKeyValueHeads: 4 };

describe('query heads', () => {
  it('read the KV head floor(h K / H)', () => {
    expect(Array.from({ length: 8 }, (_, head) => keyValueHeadOf(shape, head))).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
    expect(queryHeadsOf(shape, [3, 1])).toEqual([2, 3, 6, 7]);
  });

  it('keep their order under contiguous groups', () => {
    expect(contiguousHeads(4, 2)).toEqual([
      [0, 1],
      [2, 3],
    ]);
    expect(queryOrder(shape, contiguousHeads(4, 2))).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });

  it('are gathered by group otherwise, in source order within a group', () => {
    const apart = [
      [3, 0],
      [1, 2],
    ];
    expect(queryOrder(shape, apart)).toEqual([0, 1, 6, 7, 2, 3, 4, 5]);
    expect(separateHeads(apart)).toEqual([[0], [3], [1], [2]]);
    expect(ascendingHeads(apart)).toEqual([
      [0, 3],
      [1, 2],
    ]);
  });

  it('own their components of a projection, one after another', () => {
    expect(headComponents([2, 0], 3)).toEqual([6, 7, 8, 0, 1, 2]);
  });
});
