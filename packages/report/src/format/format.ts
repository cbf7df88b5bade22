import type { Measurement } from '@kvlr/core';

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
function formatDecimal(value: number, digits: number): string {
  if (Number.isNaN(value)) return missing;
  if (!Number.isFinite(value)) return value > 0 ? '∞' : `${minus}∞`;
  return decimal(value, digits);
}

/** A whole number with thousands separators: 36864 -> "36,864". */
export function formatCount(value: number): string {
  return formatDecimal(value, 0);
}

/** Digits after the point that show a value of this size to about four significant digits: 30.61, 172.5, 2,041. */
function sensibleDigits(value: number): number {
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

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes in binary units to three significant digits: 12288 -> "12 KiB". Exact values lose their zeros: "1.5 MiB". */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return formatDecimal(bytes, 0);
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < byteUnits.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  const text = value.toLocaleString('en-US', { maximumFractionDigits: unit === 0 ? 0 : digits });
  return `${text} ${byteUnits[unit]}`;
}

/** The exact figure: "12,288 bytes". */
export function formatExactBytes(bytes: number): string {
  return `${formatCount(bytes)} ${bytes === 1 ? 'byte' : 'bytes'}`;
}

const parameterUnits: [size: number, letter: string][] = [
  [1e9, 'B'],
  [1e6, 'M'],
  [1e3, 'k'],
];

/** A count of parameters to four digits in the field's units: 5834112 -> "5.834M", 6.74e9 -> "6.74B". */
export function formatParameters(count: number): string {
  const [size, letter] = parameterUnits.find(([least]) => count >= least) ?? [1, ''];
  if (!Number.isFinite(count)) return formatDecimal(count, 0);
  return `${(count / size).toLocaleString('en-US', { maximumSignificantDigits: 4 })}${letter}`;
}

/** A kept share as a simple fraction where it is one: 0.5 -> "1/2", 0.375 -> "3/8", otherwise as percent. */
export function formatRatio(ratio: number): string {
  if (ratio === 1) return 'all';
  for (let denominator = 2; denominator <= 64; denominator++) {
    const numerator = Math.round(ratio * denominator);
    if (numerator >= 1 && Math.abs(numerator / denominator - ratio) < 1e-9) return `${numerator}/${denominator}`;
  }
  return formatPercent(ratio);
}

/** Seconds for people: "0.42 s", "12 s", "2 min 05 s", "1 h 03 min". */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return formatDecimal(seconds, 0);
  if (seconds < 1) return `${formatDecimal(seconds, 2)} s`;
  const whole = Math.round(seconds);
  if (seconds < 10) return `${formatDecimal(seconds, 1)} s`;
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

/** Digits after the point that show both the value and at least one digit of its standard error. */
function sharedDigits(value: number, standardError: number): number {
  const forError = standardError > 0 ? Math.ceil(-Math.log10(standardError)) : 0;
  const forValue = value === 0 ? sensibleDigits(standardError) : sensibleDigits(value);
  return Math.min(6, Math.max(forValue, forError));
}

/** A measured value with its standard error, both to the same digit: "30.61 ± 0.28". */
export function formatMeasurement(measurement: Measurement): string {
  const { value, standardError } = measurement;
  if (!Number.isFinite(value) || standardError === undefined || !Number.isFinite(standardError))
    return formatSignificant(value);
  const digits = sharedDigits(value, standardError);
  return `${formatDecimal(value, digits)} ± ${formatDecimal(standardError, digits)}`;
}

/** A measured share with its standard error in percent: "94.2% ± 0.1%". */
export function formatShareMeasurement(measurement: Measurement): string {
  const value = formatPercent(measurement.value);
  return measurement.standardError === undefined ? value : `${value} ± ${formatPercent(measurement.standardError)}`;
}

/** A ratio to the base as a change: 1.0124 ± 0.0021 -> "+1.2% ± 0.2%". */
export function formatRatioMeasurement(measurement: Measurement, digits = 1): string {
  const change = measurement.value - 1;
  const value = formatPercent(change, digits);
  const signed = change > 0 && /[1-9∞]/.test(value) ? `+${value}` : value;
  return measurement.standardError === undefined
    ? signed
    : `${signed} ± ${formatPercent(measurement.standardError, digits)}`;
}

/**
 * Text without what could steer a terminal or break XML: control characters become spaces, lone surrogates and
 * non-characters U+FFFD.
 */
export function stripControlCharacters(text: string): string {
  return text.replace(/\p{Cc}/gu, ' ').replace(/\p{Cs}|[\ufffe\uffff]/gu, '\ufffd');
}

/**
 * Text in lines of at most `limit` characters, broken at spaces. At most `maxLines` of them: what does not fit ends in
 * an ellipsis, and so does a word longer than a line where lines are counted.
 */
export function wrapText(text: string, limit: number, maxLines = Number.POSITIVE_INFINITY): string[] {
  const lines: string[] = [];
  for (const word of text.trim().split(/\s+/)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= limit) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  if (!Number.isFinite(maxLines)) return lines;
  return lines.slice(0, maxLines).map((line, index) => {
    const cut = index === maxLines - 1 && lines.length > maxLines;
    return line.length > limit || cut ? `${line.slice(0, limit - 1)}…` : line;
  });
}
