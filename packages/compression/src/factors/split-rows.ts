import { createMatrix, type Matrix } from '@kvlr/linalg';

/** The blocks of `height` rows that lie below one another in a matrix. */
export function splitRows({ rows, cols, data }: Matrix, height: number): Matrix[] {
  const size = height * cols;
  return Array.from({ length: rows / height }, (_, index) =>
    createMatrix(height, cols, data.slice(index * size, (index + 1) * size)),
  );
}
