import { PackedMatrix } from './packed-matrix.ts';
import type { WeightFormat } from './weight-format.ts';

/** Packs row-major values [rows, columns] in the given format onto the active backend. */
export function packMatrix(values: Float32Array, rows: number, columns: number, format: WeightFormat): PackedMatrix {
  const matrix = new PackedMatrix({ format, rows, columns });
  matrix.write(0, values);
  return matrix;
}
