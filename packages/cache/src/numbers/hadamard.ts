/** The largest power of two that divides a width: what its Hadamard rotation works on at once. */
export function hadamardSize(width: number): number {
  return width & -width;
}

/**
 * Multiplies `width` numbers from `at` on by the orthonormal Walsh-Hadamard matrix (Sylvester's order), in place; where the width is no
 * power of two, each part of `hadamardSize` numbers alone. It is its own inverse.
 */
export function hadamard(values: Float64Array, at: number, width: number): void {
  const size = hadamardSize(width);
  const scale = 1 / Math.sqrt(size);
  for (let part = at; part < at + width; part += size) {
    for (let half = 1; half < size; half *= 2) {
      for (let i = part; i < part + size; i += 2 * half) {
        for (let j = i; j < i + half; j++) {
          const x = values[j]!;
          const y = values[j + half]!;
          values[j] = x + y;
          values[j + half] = x - y;
        }
      }
    }
    for (let i = part; i < part + size; i++) values[i]! *= scale;
  }
}
