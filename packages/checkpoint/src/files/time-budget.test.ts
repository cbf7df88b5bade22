import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { withinTime } from './time-budget.ts';

describe('work of bounded time', () => {
  it('gives its value, and its error', () => {
    expect(withinTime(1000, {}, () => withinTime(1000, {}, () => [1, 2]))).toEqual([1, 2]);
    expect(() =>
      withinTime(1000, {}, () => {
        throw new RangeError('mine');
      }),
    ).toThrow(RangeError);
  });

  it.each<[string, () => unknown]>([
    ['a loop', () => Array.from({ length: 1e9 }, (_, position) => position).length],
    ['a regular expression', () => /^(a+)+$/.test(`${'a'.repeat(60)}b`)],
    [
      'code that catches everything',
      () => {
        for (;;) {
          try {
            for (let i = 0; ; i = (i + 1) | 0);
          } catch {}
        }
      },
    ],
  ])('ends %s that would not end', (_, work) => {
    const error = expectKvlrError(() => withinTime(100, { file: 'tokenizer.json' }, work), 'file-malformed', 'no end');
    expect(error.where.file).toBe('tokenizer.json');
  });
});
