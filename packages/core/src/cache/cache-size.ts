import type { CacheSize } from '../artefacts/evaluation-result.ts';
import { cacheWidth, type DecoderShape } from '../model/decoder-shape.ts';

/**
 * Bytes of KV cache per token: the sum over layers of the cache width times the element size. For stock grouped-query
 * attention this is 2 x layers x KV heads x headDim x bytesPerElement.
 */
export function cacheSize(shape: Pick<DecoderShape, 'layers'>, bytesPerElement: number): CacheSize {
  const elementsPerTokenByLayer = shape.layers.map(cacheWidth);
  const elements = elementsPerTokenByLayer.reduce((sum, width) => sum + width, 0);
  return { bytesPerToken: elements * bytesPerElement, bytesPerElement, elementsPerTokenByLayer };
}
