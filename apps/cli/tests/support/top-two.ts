/** The index of the largest number and its lead over the runner-up. */
export function topTwo(values: Float32Array): { first: number; margin: number } {
  let first = 0;
  let second = Number.NEGATIVE_INFINITY;
  for (let i = 1; i < values.length; i++) {
    if (values[i]! > values[first]!) {
      second = values[first]!;
      first = i;
    } else if (values[i]! > second) {
      second = values[i]!;
    }
  }
  return { first, margin: values[first]! - second };
}
