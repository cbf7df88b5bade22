import type { CacheSize } from '../artefacts/evaluation-result.ts';
import type { DecoderShape } from '../model/decoder-shape.ts';
import { type CacheDtype, cacheBytes } from './cache-bytes.ts';
import { cacheSize } from './cache-size.ts';

/** Bytes of KV cache per token where the cache keeps its numbers in this dtype; `bytesPerElement` is the mean with scales. */
export function codedCacheSize(shape: Pick<DecoderShape, 'layers'>, dtype: CacheDtype): CacheSize {
  const { elementsPerTokenByLayer } = cacheSize(shape, 1);
  const bytesPerToken = cacheBytes(shape, { dtype, capacity: 1 });
  const elements = elementsPerTokenByLayer.reduce((sum, width) => sum + width, 0);
  return { bytesPerToken, bytesPerElement: bytesPerToken / elements, elementsPerTokenByLayer };
}
