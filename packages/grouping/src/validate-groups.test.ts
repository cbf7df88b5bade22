import { KvlrError } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { validateGroups } from './validate-groups.ts';

function messageOf(answer: unknown): string {
  try {
    validateGroups(answer, 4, 2, 'mine.mjs (layer 3)');
  } catch (error) {
    expect(KvlrError.isInstance(error) && error.code).toBe('grouping-invalid');
    return (error as KvlrError).message;
  }
  return 'accepted';
}

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
    expect(messageOf(answer)).toBe(`mine.mjs (layer 3): ${expected}`);
  });
});
