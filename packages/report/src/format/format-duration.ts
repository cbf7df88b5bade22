import { formatDecimal } from './format-number.ts';

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
