import { randomWindows } from '@kvlr/calibration';
import { createRandom, KvlrError } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';

/**
 * Windows of the calibration text without a token in common with those that the statistics were gathered on, drawn at random
 * from the gaps between them. Fewer than asked for where there is not enough room.
 *
 * @throws KvlrError 'text-too-short' when not even one fits.
 */
export function heldOutWindows(
  tokenIds: Int32Array,
  calibration: Recipe['calibration'],
  { windows: count, windowLength: length, seed }: Recipe['budget'],
): Int32Array[] {
  const used = new Uint8Array(tokenIds.length);
  // The same draw over places instead of tokens tells which were taken.
  const places = Int32Array.from(tokenIds, (_, place) => place);
  const { windows: usedCount, windowLength: usedLength, seed: usedSeed } = calibration;
  for (const window of randomWindows(places, { count: usedCount, length: usedLength, seed: usedSeed })) {
    for (const place of window) used[place] = 1;
  }
  const starts: number[] = [];
  let free = 0;
  for (let place = 0; place < tokenIds.length; place++) {
    free = used[place] ? 0 : free + 1;
    if (free < length) continue;
    starts.push(place + 1 - length);
    free = 0;
  }
  if (starts.length === 0) {
    throw new KvlrError('text-too-short', {
      message: `heldOutWindows: expected room for a window of ${length} tokens beside those of the statistics, got none in ${tokenIds.length} tokens`,
      hint: 'Pass more calibration text, or lower budget.windowLength or calibration.windows in the recipe.',
      data: { required: length, available: tokenIds.length },
    });
  }
  const random = createRandom(seed);
  const taken = Math.min(count, starts.length);
  for (let place = 0; place < taken; place++) {
    const chosen = place + Math.floor(random() * (starts.length - place));
    [starts[place], starts[chosen]] = [starts[chosen]!, starts[place]!];
  }
  return starts.slice(0, taken).map((start) => tokenIds.slice(start, start + length));
}
