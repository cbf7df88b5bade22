import { everyHead, type GroupingRequest } from '@kvlr/core';
import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { groupHeads, validateGroups } from './group-heads.ts';
import { contiguousGroups } from './strategies.ts';

const request: GroupingRequest = {
  layer: 2,
  statistics: undefined,
  numKeyValueHeads: 8,
  wanted: 4,
  headDim: 4,
  numAttentionHeads: 8,
  cost: undefined,
};

describe('groupHeads', () => {
  it('runs the contiguous strategy', async () => {
    expect(await groupHeads(contiguousGroups, request)).toEqual([
      [0, 1],
      [2, 3],
      [4, 5],
      [6, 7],
    ]);
  });

  it('awaits an asynchronous strategy', async () => {
    const everything = async ({ numKeyValueHeads }: GroupingRequest) => [everyHead(numKeyValueHeads)];
    expect(await groupHeads(everything, { ...request, wanted: 1 })).toEqual([[0, 1, 2, 3, 4, 5, 6, 7]]);
  });

  it('runs the example strategy', async () => {
    const path = '../../../examples/grouping/interleaved.mjs';
    const { default: strategy } = await import(path);
    expect(await groupHeads(strategy, request, path)).toEqual([
      [0, 4],
      [1, 5],
      [2, 6],
      [3, 7],
    ]);
  });

  it('turns an exception of the strategy into a typed error with its module and cause', async () => {
    const failing = () => {
      throw new TypeError('statistics is undefined');
    };
    const failure = await expectKvlrError(
      () => groupHeads(failing, request, './mine.mjs'),
      'grouping-invalid',
      './mine.mjs, layer 2: expected 4 groups, got an exception: statistics is undefined',
    );
    expect(failure.where).toEqual({ module: './mine.mjs', layer: 2 });
    expect(failure.cause).toBeInstanceOf(TypeError);
  });

  it('names the layer and no module where the strategy is no plug-in', async () => {
    const failure = await expectKvlrError(() => groupHeads(() => [[0, 0]], request, 'contiguous'), 'grouping-invalid');
    expect(failure.where).toEqual({ layer: 2 });
  });

  it.each([
    ['heads', 'numKeyValueHeads'],
    ['groups', 'wanted'],
  ])('says what %s is called now', async (former, name) => {
    const old = (given: object) => [everyHead((given as Record<string, number>)[former]!)];
    const failure = await expectKvlrError(() => groupHeads(old, request, './mine.mjs'), 'plugin-invalid', name);
    expect(failure.where).toEqual({ module: './mine.mjs', layer: 2 });
    expect(failure.data).toEqual({ former, name });
  });

  it.each([0, 3, 16, 2.5])('refuses %s groups of 8 heads and names the counts that divide', async (wanted) => {
    const work = () => groupHeads(contiguousGroups, { ...request, wanted });
    expect((await expectKvlrError(work, 'heads-not-divisible')).hint).toContain('1, 2, 4, 8');
  });
});

describe('validateGroups', () => {
  it('accepts every head once, in any order, and copies it', () => {
    const answer = [
      [3, 0],
      [1, 2],
    ];
    const groups = validateGroups(answer, 4, 2);
    expect(groups).toEqual(answer);
    expect(groups[0]).not.toBe(answer[0]);
  });

  it.each([
    ['no list', undefined, 'expected a list of groups, got undefined'],
    ['null', null, 'expected a list of groups, got null'],
    ['too few groups', [[0, 1]], 'expected 2 groups, got 1'],
    ['a group that is no list', [[0, 1], 'two'], 'expected group 1 to be a list of heads, got "two"'],
    ['a wrong size', [[0, 1, 2], [3]], 'expected 2 heads in group 0, got 3'],
    [
      'a head twice',
      [
        [0, 1],
        [1, 3],
      ],
      'expected every head once, got head 1 in group 0 and again in group 1',
    ],
    [
      'a head out of range',
      [
        [0, 1],
        [2, 4],
      ],
      'expected group 1 to hold integers from 0 to 3, got 4',
    ],
    [
      'a negative head',
      [
        [0, 1],
        [2, -1],
      ],
      'expected group 1 to hold integers from 0 to 3, got -1',
    ],
    [
      'a fraction',
      [
        [0, 1],
        [2, 2.5],
      ],
      'expected group 1 to hold integers from 0 to 3, got 2.5',
    ],
    [
      'NaN',
      [
        [0, 1],
        [2, Number.NaN],
      ],
      'expected group 1 to hold integers from 0 to 3, got NaN',
    ],
    [
      'a head as text',
      [
        [0, 1],
        [2, '3'],
      ],
      'expected group 1 to hold integers from 0 to 3, got "3"',
    ],
    ['a hole', [[0, 1], Array(2)], 'expected group 1 to hold integers from 0 to 3, got undefined'],
    ['a promise', Promise.resolve([]), 'expected a list of groups, got object'],
  ])('refuses %s', (_, answer, expected) => {
    expectKvlrError(() => validateGroups(answer, 4, 2), 'grouping-invalid', expected);
  });
});
