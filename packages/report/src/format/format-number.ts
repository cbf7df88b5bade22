const missing = 'n/a';
const minus = '\u2212';

function decimal(value: number, digits: number): string {
  const text = Math.abs(value).toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
  return value < 0 && /[1-9]/.test(text) ? `${minus}${text}` : text;
}

/** A number with this many digits after the point and thousands separators: 1234.5 -> "1,234.50". Not finite: "n/a", "∞". */
export function formatDecimal(value: number, digits: number): string {
  if (Number.isNaN(value)) return missing;
  if (!Number.isFinite(value)) return value > 0 ? '∞' : `${minus}∞`;
  return decimal(value, digits);
}

/** A whole number with thousands separators: 36864 -> "36,864". */
export function formatCount(value: number): string {
  return formatDecimal(value, 0);
}

/** Digits after the point that show a value of this size to about four significant digits: 30.61, 172.5, 2,041. */
export function sensibleDigits(value: number): number {
  const size = Math.abs(value);
  if (size >= 1000) return 0;
  if (size >= 100) return 1;
  return size >= 1 || size === 0 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(size)));
}

/** A number to about four significant digits; below one, three. Very small ones in powers of ten: "3.1e-9". */
export function formatSignificant(value: number): string {
  if (!Number.isFinite(value)) return formatDecimal(value, 0);
  if (value !== 0 && Math.abs(value) < 1e-4) return value.toExponential(1).replaceAll('-', minus);
  return decimal(value, sensibleDigits(value));
}

/** A share as percent: 0.9421 -> "94.2%". */
export function formatPercent(share: number, digits = 1): string {
  return Number.isFinite(share) ? `${decimal(share * 100, digits)}%` : formatDecimal(share, 0);
}

/** A share as percent to about four significant digits, for errors of any size: 0.0412 -> "4.12%". */
export function formatFineShare(share: number): string {
  return `${formatSignificant(share * 100)}${Number.isFinite(share) ? '%' : ''}`;
}

/** A relative change with its sign: 0.0124 -> "+1.2%". */
export function formatChange(change: number, digits = 1): string {
  const text = formatPercent(change, digits);
  return change > 0 && /[1-9∞]/.test(text) ? `+${text}` : text;
}
