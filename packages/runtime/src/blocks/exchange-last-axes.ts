/** Values of a row-major tensor [..., rows, columns] as [..., columns, rows]. */
export function exchangeLastAxes(values: Float32Array, rows: number, columns: number): Float32Array {
  const exchanged = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += rows * columns) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        exchanged[start + column * rows + row] = values[start + row * columns + column]!;
      }
    }
  }
  return exchanged;
}
