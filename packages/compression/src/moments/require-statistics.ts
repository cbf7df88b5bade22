import { KvlrError, type LayerStatistics } from '@kvlr/core';
import type { SourceLayer } from '../ports.ts';

/** The layer's statistics. Throws KvlrError 'invalid-argument' when it carries none. */
export function requireStatistics({ statistics, layer }: SourceLayer, caller: string): LayerStatistics {
  if (statistics === undefined) {
    throw new KvlrError('invalid-argument', {
      message: `${caller}: expected statistics of layer ${layer}, got none`,
      hint: "Calibrate on a text first, or take a method that reads the weights alone: 'mean-pool' or 'svd-w'.",
      data: { layer },
    });
  }
  return statistics;
}
