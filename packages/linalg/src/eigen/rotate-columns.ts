/** The plane rotations of one sweep, in the order in which they are applied. */
export interface Rotations {
  cosines: Float64Array;
  sines: Float64Array;
}

/**
 * Applies a sweep's rotations to the columns of an [n, n] row-major matrix. Rotation k turns the k-th and the next column on
 * the way from column `from` to column `to`, upwards or downwards. A row is read and written once: the entry that the next
 * rotation needs stays in a register. Four rows at a time hide the latency of that chain.
 */
export function rotateColumns(data: Float64Array, n: number, from: number, to: number, rotations: Rotations): void {
  const { cosines, sines } = rotations;
  const step = to < from ? -1 : 1;
  const count = Math.abs(to - from);
  let row = 0;
  for (; row + 4 <= n; row += 4) {
    let index0 = row * n + from;
    let index1 = index0 + n;
    let index2 = index1 + n;
    let index3 = index2 + n;
    let carry0 = data[index0]!;
    let carry1 = data[index1]!;
    let carry2 = data[index2]!;
    let carry3 = data[index3]!;
    for (let k = 0; k < count; k += 1) {
      const c = cosines[k]!;
      const s = sines[k]!;
      const x0 = data[index0 + step]!;
      data[index0] = s * x0 + c * carry0;
      carry0 = c * x0 - s * carry0;
      index0 += step;
      const x1 = data[index1 + step]!;
      data[index1] = s * x1 + c * carry1;
      carry1 = c * x1 - s * carry1;
      index1 += step;
      const x2 = data[index2 + step]!;
      data[index2] = s * x2 + c * carry2;
      carry2 = c * x2 - s * carry2;
      index2 += step;
      const x3 = data[index3 + step]!;
      data[index3] = s * x3 + c * carry3;
      carry3 = c * x3 - s * carry3;
      index3 += step;
    }
    data[index0] = carry0;
    data[index1] = carry1;
    data[index2] = carry2;
    data[index3] = carry3;
  }
  for (; row < n; row += 1) {
    let index = row * n + from;
    let carry = data[index]!;
    for (let k = 0; k < count; k += 1) {
      const x = data[index + step]!;
      data[index] = sines[k]! * x + cosines[k]! * carry;
      carry = cosines[k]! * x - sines[k]! * carry;
      index += step;
    }
    data[index] = carry;
  }
}
