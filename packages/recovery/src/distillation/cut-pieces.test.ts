import { expect, it } from 'vitest';
import { cutPieces } from './cut-pieces.ts';

const window = (length: number) => Int32Array.from({ length }, (_, token) => token);
const cut = (length: number, longest: number) => cutPieces([window(length)], longest).map((piece) => [...piece]);

it('cuts windows into the fewest pieces of one length', () => {
  expect(cut(6, 3)).toEqual([
    [0, 1, 2],
    [3, 4, 5],
  ]);
  expect(cut(7, 3)).toEqual([
    [0, 1],
    [2, 3],
    [4, 5],
  ]);
  expect(cutPieces([window(4), window(4)], 2)).toHaveLength(4);
});

it('leaves windows that are short enough whole', () => {
  expect(cut(5, 5)).toEqual([[0, 1, 2, 3, 4]]);
  expect(cut(5, 256)).toEqual([[0, 1, 2, 3, 4]]);
});
