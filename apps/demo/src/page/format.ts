const wholeNumber = new Intl.NumberFormat('en-US');

/** 6144 -> '6,144 bytes' */
export function formatBytes(bytes: number): string {
  return `${wholeNumber.format(bytes)} bytes`;
}

/** 1 -> '1 token', 1200 -> '1,200 tokens' */
export function formatCount(count: number, unit: string): string {
  return `${wholeNumber.format(count)} ${unit}${count === 1 ? '' : 's'}`;
}

/** 9.25 -> '9.3 s', 75 -> '1 min 15 s' */
export function formatSeconds(seconds: number): string {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** 2 -> '2×', 1.5 -> '1.5×' */
export function formatRatio(ratio: number): string {
  return `${Number(ratio.toFixed(2))}×`;
}

/** 0.1234 -> '12.3 %' */
export function formatShare(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
