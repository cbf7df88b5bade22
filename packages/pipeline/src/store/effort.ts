/** What making something took. */
export interface Effort {
  /** On the wall clock. */
  seconds: number;
  /** Largest resident memory of the process by the end; absent where it is unknown, as in browsers. */
  peakMemoryBytes?: number | undefined;
}

/** All of it one after the other; undefined when of a part nothing is known. */
export function addEfforts(parts: readonly (Effort | undefined)[]): Effort | undefined {
  let sum: Effort = { seconds: 0 };
  for (const part of parts) {
    if (part === undefined) return undefined;
    const peaks = [sum.peakMemoryBytes, part.peakMemoryBytes].filter((bytes) => bytes !== undefined);
    sum = { seconds: sum.seconds + part.seconds, ...(peaks.length > 0 && { peakMemoryBytes: Math.max(...peaks) }) };
  }
  return sum;
}
