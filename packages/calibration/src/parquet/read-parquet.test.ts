import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { repeatedNumbers, repeatedTexts } from '../testing/crafted-parquet.ts';
import { readParquet } from './read-parquet.ts';

describe('readParquet', () => {
  it('reads the columns that are asked for, and names all', async () => {
    expect(await readParquet('a.parquet', repeatedTexts('text', 3))).toEqual({
      columns: ['text'],
      rows: [{ text: 'x' }, { text: 'x' }, { text: 'x' }],
    });
    expect(await readParquet('a.parquet', repeatedNumbers('n', 2), ['text'])).toEqual({ columns: ['n'], rows: [] });
    expect(await readParquet('a.parquet', repeatedNumbers('n', 2), ['n'])).toMatchObject({
      rows: [{ n: 0 }, { n: 0 }],
    });
  });

  it.each([
    ['lists', repeatedTexts('text', 2_000_000_000)],
    ['numbers', repeatedNumbers('text', 2_000_000_000)],
  ])('ends a file of two hundred bytes that asks for gigabytes of %s', async (_, file) => {
    expect(file.length).toBeLessThan(250);
    const error = await expectKvlrError(
      () => readParquet('a.parquet', file, undefined, { bytes: 2 ** 28 }),
      'unsupported-feature',
    );
    expect(error.message).toMatch(/a\.parquet: .* within 256 MiB of memory, got one that takes more/);
  });

  it('ends a file whose time is up', async () => {
    const file = repeatedTexts('text', 20_000_000);
    const error = await expectKvlrError(
      () => readParquet('a.parquet', file, undefined, { milliseconds: 0 }),
      'unsupported-feature',
    );
    expect(error.message).toContain('within 0 seconds');
  });
});
