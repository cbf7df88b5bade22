import type { LogitSource } from '@kvlr/core';

export interface LogitDifference {
  /** Largest difference of any logit. */
  maximum: number;
  /** The same as a share of the range (largest minus smallest) of the first model's logits. */
  relativeToRange: number;
}

/** How far the logits of two models lie apart on one window. */
export async function logitDifference(
  first: LogitSource,
  second: LogitSource,
  tokenIds: Int32Array,
): Promise<LogitDifference> {
  const expected = await first.logits(tokenIds);
  const received = await second.logits(tokenIds);
  let maximum = 0;
  let lowest = Number.POSITIVE_INFINITY;
  let highest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < expected.length; i++) {
    maximum = Math.max(maximum, Math.abs(expected[i]! - received[i]!));
    lowest = Math.min(lowest, expected[i]!);
    highest = Math.max(highest, expected[i]!);
  }
  return { maximum, relativeToRange: highest > lowest ? maximum / (highest - lowest) : 0 };
}
