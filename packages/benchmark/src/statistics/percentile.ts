import { KvlrError } from '@kvlr/core';

/**
 * The value below which `share` (0..1) of the samples lie, with linear interpolation between neighbours (Hyndman and Fan 1996,
 * definition 7: what NumPy does). Throws 'invalid-argument' without samples or for another share.
 */
export function percentile(samples: readonly number[], share: number): number {
  if (samples.length === 0 || !(share >= 0 && share <= 1)) {
    throw new KvlrError('invalid-argument', {
      message: `percentile: expected at least one sample and a share from 0 to 1, got ${samples.length} and ${share}.`,
      data: { samples: samples.length, share },
    });
  }
  const sorted = [...samples].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const below = sorted[Math.floor(place)]!;
  const above = sorted[Math.ceil(place)]!;
  return below + (above - below) * (place - Math.floor(place));
}
