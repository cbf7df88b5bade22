import type { Measurement } from '@kvlr/core';
import { formatDecimal, formatPercent, formatSignificant, sensibleDigits } from './format-number.ts';

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
