/** A dense real matrix in Float64, row-major: entry (i, j) is `data[i * cols + j]`. */
export interface Matrix {
  readonly rows: number;
  readonly cols: number;
  readonly data: Float64Array;
}

/** A dense complex matrix in Float64, row-major, real and imaginary parts in two arrays of rows * cols numbers. */
export interface ComplexMatrix {
  readonly rows: number;
  readonly cols: number;
  readonly real: Float64Array;
  readonly imag: Float64Array;
}
