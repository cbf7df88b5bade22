import type { CalibrationStatistics, DenseTensor, LayerStatistics, TensorBundle } from '@kvlr/core';
import { type MomentField, momentFields } from './moment-fields.ts';

/** Value of the metadata entry `format` that marks a file of statistics, and of `version`. */
export const statisticsFormat = { format: 'kvlr-statistics', version: '1' } as const;

/** Name of one array of one layer's statistics in a bundle. */
export function statisticsTensorName(layer: number, field: MomentField): string {
  return `layers.${layer}.${field}`;
}

/**
 * Statistics as named Float64 tensors with string metadata, for `encodeTensorBundle` of @kvlr/checkpoint to make one safetensors
 * file of. Metadata: format, version, `provenance` and `layers` (layer and tokenCount of each), both JSON.
 */
export function statisticsToBundle(statistics: CalibrationStatistics): TensorBundle {
  const tensors = new Map<string, DenseTensor>();
  for (const layer of statistics.layers) {
    for (const field of momentFields) {
      const tensor = { shape: tensorShape(layer, field), data: layer[field] };
      tensors.set(statisticsTensorName(layer.layer, field), tensor);
    }
  }
  return {
    metadata: {
      ...statisticsFormat,
      provenance: JSON.stringify(statistics.provenance),
      layers: JSON.stringify(statistics.layers.map(({ layer, tokenCount }) => ({ layer, tokenCount }))),
    },
    tensors,
  };
}

/** Means are [width], second moments [width, width], those of queries [heads, headDim, headDim]. */
function tensorShape(layer: LayerStatistics, field: MomentField): number[] {
  const { length } = layer[field];
  if (field.endsWith('Mean')) return [length];
  if (field === 'querySecondMoment' || field === 'rotatedQuerySecondMoment') {
    // Values keep the width headDim under every layout, so the attended values are heads * headDim wide.
    const headDim = length / layer.attendedMean.length;
    return [layer.attendedMean.length / headDim, headDim, headDim];
  }
  const width = Math.sqrt(length);
  return [width, width];
}
