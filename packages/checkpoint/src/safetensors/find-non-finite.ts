/** Index of the first NaN or infinity, if there is one. */
export function findNonFinite(values: Float32Array | Float64Array): number | undefined {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) return i;
  }
  return undefined;
}
