import { expect, it } from 'vitest';
import { createMatrix } from './create-matrix.ts';
import { selectBlock } from './select-block.ts';
import { selectTiles } from './select-tiles.ts';

it('takes tiles in the order asked for', () => {
  const square = Float64Array.from({ length: 36 }, (_, place) => place);
  const places = (tiles: number[]) => tiles.flatMap((tile) => [2 * tile, 2 * tile + 1]);
  for (const [rows, columns] of [
    [[0], [2]],
    [
      [2, 0],
      [2, 0],
    ],
    [[1], [0, 1, 2]],
  ] as [number[], number[]][]) {
    const expected = selectBlock(createMatrix(6, 6, square), places(rows), places(columns));
    expect(selectTiles(square, 2, rows, columns)).toEqual(expected);
  }
});
