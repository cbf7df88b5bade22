import { type AttentionWeights, type GroupingRequest, KvlrError, type LayerStatistics } from '@kvlr/core';

/**
 * The layer's attention weights.
 *
 * @throws KvlrError 'grouping-invalid' when the request carries none.
 */
export function requireWeights(request: GroupingRequest, strategy: string): AttentionWeights {
  if (request.weights === undefined) {
    throw new KvlrError('grouping-invalid', {
      message: `${strategy} (layer ${request.layer}): expected the layer's attention weights, got a request without them`,
      hint: 'Pass `weights` in the request (readAttentionWeights of @kvlr/compression reads them).',
      data: { layer: request.layer },
    });
  }
  return request.weights;
}

/**
 * The layer's statistics.
 *
 * @throws KvlrError 'grouping-invalid' when the request carries none.
 */
export function requireStatistics({ statistics, layer }: GroupingRequest, strategy: string): LayerStatistics {
  if (statistics === undefined) {
    throw new KvlrError('grouping-invalid', {
      message: `${strategy} (layer ${layer}): expected statistics of the layer, got a request without them`,
      hint: "Calibrate on a text, or take the grouping 'contiguous'.",
      data: { layer },
    });
  }
  return statistics;
}
