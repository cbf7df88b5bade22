import { requireTokens } from './require-tokens.ts';

export interface ConsecutiveWindowSettings {
  /** Tokens of a window. */
  length: number;
  /** At most this many windows, from the beginning. Default: as many as there are. */
  count?: number;
}

/**
 * Windows side by side from the beginning of a stream of tokens, without overlap; a rest shorter than a window is left out.
 * Throws 'text-too-short' when not even one fits.
 */
export function consecutiveWindows(tokenIds: Int32Array, settings: ConsecutiveWindowSettings): Int32Array[] {
  const { length, count = Number.POSITIVE_INFINITY } = settings;
  requireTokens('consecutiveWindows', tokenIds.length, length);
  const fitting = Math.min(count, Math.floor(tokenIds.length / length));
  return Array.from({ length: fitting }, (_, index) => tokenIds.slice(index * length, (index + 1) * length));
}
