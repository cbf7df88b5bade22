import type { CompressedLayer } from '@kvlr/core';
import { compressLayerByMethod, type LayerByMethod } from './compress-layer.ts';
import { resolveMethod } from './methods/combine.ts';
import type { CompressionMethod } from './ports.ts';

export interface CompressLayerRequest extends Omit<LayerByMethod, 'method'> {
  /** A registered name or a method of one's own. */
  method: string | CompressionMethod;
}

/**
 * Compresses the attention of one layer to one KV head per group by a method of any registered name, see `compressLayerByMethod`.
 *
 * @throws KvlrError 'usage' for an unknown method, and as `compressLayerByMethod` does.
 */
export function compressLayer(request: CompressLayerRequest): CompressedLayer {
  return compressLayerByMethod({ ...request, method: resolveMethod(request.method) });
}
