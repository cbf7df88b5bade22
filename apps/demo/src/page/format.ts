import type { Measurement } from '@kvlr/core';
import type { Failure } from '../messages.ts';

const noBreak = '\u00a0';
const wholeNumber = new Intl.NumberFormat('en-US');

/** 6144 -> '6,144 bytes' */
export function formatBytes(bytes: number): string {
  return `${wholeNumber.format(bytes)} bytes`;
}

/** 1 -> '1 token', 1200 -> '1,200 tokens' */
export function formatCount(count: number, unit: string): string {
  return `${wholeNumber.format(count)} ${unit}${count === 1 ? '' : 's'}`;
}

/** 0.04 -> 'under 0.1 s', 9.25 -> '9.3 s', 75 -> '1 min 15 s' */
export function formatSeconds(seconds: number): string {
  if (seconds < 0.05) return 'under 0.1 s';
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** 2 -> '2×', 1.5 -> '1.5×' */
export function formatRatio(ratio: number): string {
  return `${Number(ratio.toFixed(2))}×`;
}

/** 0.1234 -> '12.3 %', in one piece */
export function formatShare(share: number): string {
  return `${(100 * share).toFixed(1)}${noBreak}%`;
}

/** 20.63 with an error of 0.71 -> '20.6 ± 0.7' */
export function formatMeasurement({ value, standardError }: Measurement): string {
  return `${value.toFixed(1)}${standardError === undefined ? '' : `${noBreak}±${noBreak}${standardError.toFixed(1)}`}`;
}

/** A ratio as a change: 1.0591 with an error of 0.004 -> '+5.9 ± 0.4 %' */
export function formatChange({ value, standardError }: Measurement): string {
  const change = 100 * (value - 1);
  const size = { value: Math.abs(change), standardError: standardError && 100 * standardError };
  return `${change < 0 ? '−' : '+'}${formatMeasurement(size)}${noBreak}%`;
}

/** What to do about errors whose own advice is for programmers. */
const hints: Readonly<Record<string, string>> = {
  'backend-unavailable':
    'Choose WASM or auto. WebGPU takes a current browser, and a graphics card that it lets pages use.',
  'device-lost': 'The graphics card was taken away or reset. Try again, or choose WASM.',
  'memory-exceeded': 'Close other pages, or choose WASM.',
};

/** An error as a sentence for visitors, with what to do here. */
export function explainFailure({ code, message, hint }: Failure): { message: string; hint: string } {
  return {
    message: message.charAt(0).toUpperCase() + message.slice(1),
    hint: hints[code] ?? hint ?? 'Try again, or load the page again.',
  };
}
