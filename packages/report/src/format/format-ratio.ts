import { formatPercent } from './format-number.ts';

/** A kept share as a simple fraction where it is one: 0.5 -> "1/2", 0.375 -> "3/8", otherwise as percent. */
export function formatRatio(ratio: number): string {
  if (ratio === 1) return 'all';
  for (let denominator = 2; denominator <= 64; denominator++) {
    const numerator = Math.round(ratio * denominator);
    if (numerator >= 1 && Math.abs(numerator / denominator - ratio) < 1e-9) return `${numerator}/${denominator}`;
  }
  return formatPercent(ratio);
}
