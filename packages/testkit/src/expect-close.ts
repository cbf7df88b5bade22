/** Largest absolute difference of two arrays divided by the range (max - min) of the expected one. NaN counts as infinite. */
export function differenceByRange(received: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (received.length !== expected.length) {
    throw new Error(`differenceByRange: expected ${expected.length} numbers, got ${received.length}`);
  }
  let lowest = Number.POSITIVE_INFINITY;
  let highest = Number.NEGATIVE_INFINITY;
  let difference = 0;
  for (let i = 0; i < expected.length; i++) {
    const gap = Math.abs(received[i]! - expected[i]!);
    if (Number.isNaN(gap)) return Number.POSITIVE_INFINITY;
    lowest = Math.min(lowest, expected[i]!);
    highest = Math.max(highest, expected[i]!);
    difference = Math.max(difference, gap);
  }
  return difference / (highest - lowest || 1);
}

/** Throws when any two numbers differ by more than the tolerance, naming the place. */
export function expectClose(received: ArrayLike<number>, expected: ArrayLike<number>, tolerance: number): void {
  if (received.length !== expected.length) {
    throw new Error(`expectClose: expected ${expected.length} numbers, got ${received.length}`);
  }
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(received[i]! - expected[i]!) <= tolerance)) {
      throw new Error(`expectClose: at ${i} expected ${expected[i]} within ${tolerance}, got ${received[i]}`);
    }
  }
}
