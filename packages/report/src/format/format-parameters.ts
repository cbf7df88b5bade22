import { formatDecimal } from './format-number.ts';

const units: [size: number, letter: string][] = [
  [1e9, 'B'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** A count of parameters to four digits in the field's units: 5834112 -> "5.834M", 6.74e9 -> "6.74B". */
export function formatParameters(count: number): string {
  const [size, letter] = units.find(([least]) => count >= least) ?? [1, ''];
  if (!Number.isFinite(count)) return formatDecimal(count, 0);
  return `${(count / size).toLocaleString('en-US', { maximumSignificantDigits: 4 })}${letter}`;
}
