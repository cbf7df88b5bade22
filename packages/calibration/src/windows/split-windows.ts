import { createRandom } from '@kvlr/core';
import { consecutiveWindows } from './consecutive-windows.ts';
import { requireTokens } from './require-tokens.ts';

export interface SplitSettings {
  trainingCount: number;
  heldOutCount: number;
  /** Tokens of a window. Default 512. */
  length?: number;
  /** Same seed, same split. Default 0. */
  seed?: number;
}

export interface SplitWindows {
  training: Int32Array[];
  heldOut: Int32Array[];
}

/**
 * Windows to fit on and windows to judge the fit on, without a token in common: the stream is cut side by side and the windows
 * are dealt out in a random order. Throws 'text-too-short' when there are not enough.
 */
export function splitWindows(tokenIds: Int32Array, settings: SplitSettings): SplitWindows {
  const { trainingCount, heldOutCount, length = 512, seed = 0 } = settings;
  const wanted = trainingCount + heldOutCount;
  requireTokens('splitWindows', tokenIds.length, wanted * length);
  const windows = consecutiveWindows(tokenIds, { length });
  const random = createRandom(seed);
  for (let place = 0; place < wanted; place++) {
    const chosen = place + Math.floor(random() * (windows.length - place));
    [windows[place], windows[chosen]] = [windows[chosen]!, windows[place]!];
  }
  return { heldOut: windows.slice(0, heldOutCount), training: windows.slice(heldOutCount, wanted) };
}
