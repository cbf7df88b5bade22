import { createRandom } from '@kvlr/core';
import { requireTokens } from './require-tokens.ts';

export interface RandomWindowSettings {
  /** Default 48. */
  count?: number;
  /** Tokens of a window. Default 512. */
  length?: number;
  /** Same seed, same windows. Default 0. */
  seed?: number;
}

/**
 * Windows at random places of a stream of tokens, with replacement: they may overlap. The defaults are kvlr's calibration.
 * Throws 'text-too-short' when the stream is shorter than one window.
 */
export function randomWindows(tokenIds: Int32Array, settings: RandomWindowSettings = {}): Int32Array[] {
  const { count = 48, length = 512, seed = 0 } = settings;
  requireTokens('randomWindows', tokenIds.length, length);
  const random = createRandom(seed);
  const places = tokenIds.length - length + 1;
  return Array.from({ length: count }, () => {
    const start = Math.floor(random() * places);
    return tokenIds.slice(start, start + length);
  });
}
