/** Dot product of two stretches of one array, with four running sums so that additions need not wait for each other. */
export function dot(data: Float64Array, left: number, right: number, length: number): number {
  let sum0 = 0;
  let sum1 = 0;
  let sum2 = 0;
  let sum3 = 0;
  let k = 0;
  for (; k + 4 <= length; k += 4) {
    sum0 += data[left + k]! * data[right + k]!;
    sum1 += data[left + k + 1]! * data[right + k + 1]!;
    sum2 += data[left + k + 2]! * data[right + k + 2]!;
    sum3 += data[left + k + 3]! * data[right + k + 3]!;
  }
  for (; k < length; k += 1) sum0 += data[left + k]! * data[right + k]!;
  return sum0 + sum1 + (sum2 + sum3);
}
