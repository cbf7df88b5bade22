import { createMatrix } from './create-matrix.ts';
import type { Matrix } from './matrix.ts';

/**
 * Square tiles of a square matrix, put together. The matrix is cut into tiles of [size, size], as a second moment over heads side by
 * side is into one tile for each two heads.
 *
 * @param square Row-major, as wide as a whole number of tiles.
 * @param tileRows Rows of tiles that are wanted, in the order of the result; `tileColumns` likewise, by default the same.
 * @returns [tileRows * size, tileColumns * size].
 */
export function selectTiles(
  square: Float64Array,
  size: number,
  tileRows: readonly number[],
  tileColumns: readonly number[] = tileRows,
): Matrix {
  const width = Math.round(Math.sqrt(square.length));
  const selected = createMatrix(tileRows.length * size, tileColumns.length * size);
  tileRows.forEach((tileRow, rowPlace) => {
    for (let row = 0; row < size; row += 1) {
      const source = (tileRow * size + row) * width;
      const target = (rowPlace * size + row) * selected.cols;
      tileColumns.forEach((tileColumn, columnPlace) => {
        const start = source + tileColumn * size;
        selected.data.set(square.subarray(start, start + size), target + columnPlace * size);
      });
    }
  });
  return selected;
}
