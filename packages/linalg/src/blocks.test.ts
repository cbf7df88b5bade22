import { expectKvlrError } from '@kvlr/testkit';
import { describe, expect, it } from 'vitest';
import { randomMatrix } from '../test-support/matrices.ts';
import { blockDiagonal, columns, hstack, rows, selectBlock, selectTiles, splitRows, vstack } from './blocks.ts';
import { createMatrix, identity, transpose } from './matrix.ts';
import { multiply } from './product/multiply.ts';

const a = randomMatrix(5, 12, 1);
const range = (start: number, count: number) => Array.from({ length: count }, (_, index) => start + index);

describe('columns and rows', () => {
  it.each([
    [0, 12],
    [3, 4],
    [11, 1],
    [6, 0],
  ])(
    '%d and %d more are those at their indices, and the product with those columns of the identity',
    (start, count) => {
      const chosen = columns(a, start, count);
      expect(chosen).toEqual(columns(a, range(start, count)));
      expect(chosen).toEqual(multiply(a, columns(identity(12), start, count)));
      expect(rows(transpose(a), start, count)).toEqual(transpose(chosen));
    },
  );

  it('take indices in any order, also twice', () => {
    const places = [7, 0, 7];
    expect(columns(a, places)).toEqual(selectBlock(a, range(0, 5), places));
    expect(rows(transpose(a), places)).toEqual(transpose(columns(a, places)));
  });

  it('copy', () => {
    columns(a, 0, 12).data.fill(0);
    rows(a, 0, 5).data.fill(0);
    expect(a).toEqual(randomMatrix(5, 12, 1));
  });

  it('refuse places outside', () => {
    expectKvlrError(() => columns(a, 10, 3), 'invalid-argument', /columns that lie in 0 to 11, got 3 from 10 on/);
    expectKvlrError(() => columns(a, [0, 12]), 'invalid-argument', /column indices from 0 to 11, got 12 at place 1/);
    expectKvlrError(() => rows(a, -1, 2), 'invalid-argument', /rows that lie in 0 to 4, got 2 from -1 on/);
    expectKvlrError(() => rows(a, [5]), 'invalid-argument', /row indices from 0 to 4, got 5/);
  });
});

describe('hstack, vstack, splitRows', () => {
  it('put together what columns and rows take apart', () => {
    expect(hstack(columns(a, 0, 3), columns(a, 3, 1), columns(a, 4, 8))).toEqual(a);
    expect(vstack(rows(a, 0, 2), rows(a, 2, 3))).toEqual(a);
    expect(transpose(hstack(a, a))).toEqual(vstack(transpose(a), transpose(a)));
    expect(vstack(...splitRows(transpose(a), 4))).toEqual(transpose(a));
    expect(splitRows(transpose(a), 4)[1]).toEqual(rows(transpose(a), 4, 4));
  });

  it('multiply block by block', () => {
    const b = randomMatrix(12, 3, 2);
    expect(multiply(vstack(a, a), hstack(b, b))).toEqual(
      vstack(hstack(multiply(a, b), multiply(a, b)), hstack(multiply(a, b), multiply(a, b))),
    );
  });

  it('refuse blocks that do not fit', () => {
    expectKvlrError(() => hstack(a, identity(4)), 'invalid-argument', /equally many rows, got 5x12 and 4x4/);
    expectKvlrError(() => vstack(a, identity(4)), 'invalid-argument', /equally many columns, got 5x12 and 4x4/);
    expectKvlrError(() => hstack(), 'invalid-argument', /at least one block/);
    expectKvlrError(() => splitRows(a, 2), 'invalid-argument', /divides 5 rows, got a height of 2/);
  });
});

describe('selectBlock', () => {
  it('takes rows and columns in the given order', () => {
    const small = createMatrix(2, 3, Float64Array.of(1, 2, 3, 4, 5, 6));
    expect(selectBlock(small, [1, 0], [2, 0])).toEqual({ rows: 2, cols: 2, data: Float64Array.of(6, 4, 3, 1) });
  });

  it('refuses indices outside the matrix', () => {
    expectKvlrError(() => selectBlock(identity(2), [0], [2]), 'invalid-argument', /column indices from 0 to 1, got 2/);
    expectKvlrError(() => selectBlock(identity(2), [-1], [0]), 'invalid-argument', /row indices .*got -1/);
  });
});

describe('selectTiles', () => {
  it.each([
    [[0], [2]],
    [
      [2, 0],
      [2, 0],
    ],
    [[1], [0, 1, 2]],
  ])('takes tiles %j, %j in the order asked for', (tileRows, tileColumns) => {
    const square = Float64Array.from({ length: 36 }, (_, place) => place);
    const places = (tiles: number[]) => tiles.flatMap((tile) => [2 * tile, 2 * tile + 1]);
    const expected = selectBlock(createMatrix(6, 6, square), places(tileRows), places(tileColumns));
    expect(selectTiles(square, 2, tileRows, tileColumns)).toEqual(expected);
  });
});

describe('blockDiagonal', () => {
  it('puts blocks of different shapes down the diagonal', () => {
    const result = blockDiagonal([
      createMatrix(1, 2, Float64Array.of(1, 2)),
      createMatrix(2, 1, Float64Array.of(3, 4)),
    ]);
    expect(result).toEqual({ rows: 3, cols: 3, data: Float64Array.of(1, 2, 0, 0, 0, 3, 0, 0, 4) });
  });
});
