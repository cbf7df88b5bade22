/**
 * Copies rows [tokens, columns] into [tokens, padded columns], zero behind the last column, and applies RMSNorm
 * (Zhang & Sennrich 2019) where a norm weight is given.
 */
export function stageRows(
  x: Float32Array,
  staged: Float32Array,
  shape: { tokens: number; columns: number; paddedColumns: number },
  norm?: { weight: Float32Array; epsilon: number },
): void {
  const { tokens, columns, paddedColumns } = shape;
  for (let token = 0; token < tokens; token++) {
    const from = token * columns;
    const to = token * paddedColumns;
    let factor = 1;
    if (norm) {
      let squares = 0;
      for (let column = 0; column < columns; column++) squares += x[from + column]! ** 2;
      factor = 1 / Math.sqrt(squares / columns + norm.epsilon);
    }
    for (let column = 0; column < columns; column++) {
      staged[to + column] = x[from + column]! * factor * (norm ? norm.weight[column]! : 1);
    }
    staged.fill(0, to + columns, to + paddedColumns);
  }
}
