import { expect, it } from 'vitest';
import { inTurns } from './in-turns.ts';

it('lets so many run at once, in order, also behind one that fails', async () => {
  const turn = inTurns(2);
  const begun: number[] = [];
  const ends: ((error?: Error) => void)[] = [];
  const works = [0, 1, 2, 3].map((number) =>
    turn(() => {
      begun.push(number);
      return new Promise<number>((resolve, reject) => {
        ends[number] = (error) => (error ? reject(error) : resolve(number));
      });
    }),
  );
  expect(begun).toEqual([0, 1]);
  ends[1]!(new Error('this one fails'));
  await expect(works[1]).rejects.toThrow('this one fails');
  expect(begun).toEqual([0, 1, 2]);
  ends[0]!();
  expect(await works[0]).toBe(0);
  expect(begun).toEqual([0, 1, 2, 3]);
  ends[2]!();
  ends[3]!();
  expect(await Promise.all(works.slice(2))).toEqual([2, 3]);
  expect(await turn(async () => 4)).toBe(4);
});
