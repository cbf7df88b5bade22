import type { LayerStatistics } from '@kvlr/core';
import { createMatrix, eigSymmetric } from '@kvlr/linalg';
import type { LayerSpectra } from '@kvlr/report';

/** Eigenvalues of a layer's keys before and after RoPE and of its values: how many directions its cache really uses. */
export function layerSpectra(statistics: LayerStatistics): LayerSpectra {
  return {
    layer: statistics.layer,
    keysBeforeRope: spectrum(statistics.keySecondMoment),
    keysAfterRope: spectrum(statistics.rotatedKeySecondMoment),
    values: spectrum(statistics.valueSecondMoment),
  };
}

function spectrum(secondMoment: Float64Array): number[] {
  const width = Math.sqrt(secondMoment.length);
  const { values } = eigSymmetric(createMatrix(width, width, secondMoment));
  return Array.from(values, (value) => Math.max(0, value));
}
