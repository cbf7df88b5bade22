/** Column order that puts the values in descending order; equal values keep their order. */
export function descendingOrder(values: Float64Array): Uint32Array {
  return Uint32Array.from(values, (_, index) => index).sort((a, b) => values[b]! - values[a]! || a - b);
}

/** A copy of a [rows, order.length] row-major array with its columns in the given order. */
export function permuteColumns(data: Float64Array, rows: number, order: Uint32Array): Float64Array {
  const cols = order.length;
  const result = new Float64Array(data.length);
  for (let row = 0; row < rows; row += 1) {
    const offset = row * cols;
    for (let col = 0; col < cols; col += 1) result[offset + col] = data[offset + order[col]!]!;
  }
  return result;
}
