import type { PairedSpeedup } from '../documents/benchmark-report.ts';
import { formatSignificant } from '../format/format-number.ts';

/** A paired speed-up with the range of its rounds: "1.62x (1.55x to 1.71x)"; nothing for the base. */
export function speedupText(speedup: PairedSpeedup | undefined): string {
  if (speedup === undefined) return '';
  const times = (value: number) => `${formatSignificant(value)}x`;
  return `${times(speedup.median)} (${times(speedup.lowest)} to ${times(speedup.highest)})`;
}
