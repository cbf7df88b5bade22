import { cacheBytes, type DecoderShape } from '@kvlr/core';
import { packedByteLength, type WeightFormat } from '@kvlr/kernels';
import { layerParts } from '../blocks/layer-parts.ts';
import { type CacheSettings, resolveCacheSettings } from '../cache/cache-settings.ts';
import { PREFILL_TOKENS } from '../fused/fused-decoder.ts';
import { tableFormat } from '../fused/load-fused-weights.ts';

export interface MemoryRequest {
  /** Default 'f32'. */
  weights?: WeightFormat;
  /** Without a capacity or window the cache is counted for the model's last position. */
  cache?: CacheSettings;
}

/** Bytes of device memory that a model will take. */
export interface MemoryEstimate {
  weightBytes: number;
  cacheBytes: number;
  /** The greatest set of intermediate results at once: a part of a prompt in one layer, and the logits. */
  scratchBytes: number;
  totalBytes: number;
}

/** What `loadModel` with `weights` and one cache take on the device, from the shape alone. */
export function estimateMemory(shape: DecoderShape, request: MemoryRequest = {}): MemoryEstimate {
  const { weights = 'f32', cache = {} } = request;
  const { dtype, batch, capacity = shape.maxPositionEmbeddings } = resolveCacheSettings(cache);
  const { vocabSize, hiddenSize, intermediateSize } = shape;
  const tables = shape.tieWordEmbeddings ? 1 : 2;
  let weightBytes = tables * packedByteLength(tableFormat(weights), vocabSize, hiddenSize) + 4 * hiddenSize;
  let widest = 0;
  for (let layer = 0; layer < shape.numLayers; layer++) {
    let projected = 0;
    for (const [, role, size] of layerParts(shape, layer)) {
      const isMatrix = role.endsWith('Weight');
      const numbers = size.reduce((product, length) => product * length, 1);
      weightBytes += isMatrix ? packedByteLength(weights, size[0]!, size[1]!) : 4 * numbers;
      if (role === 'queryWeight' || role === 'keyWeight' || role === 'valueWeight') projected += size[0]!;
    }
    widest = Math.max(widest, projected);
  }
  const cacheSize = cacheBytes(shape, { dtype, capacity, batch });
  const rows = PREFILL_TOKENS * batch;
  const scratchBytes = 4 * rows * (2 * widest + 3 * hiddenSize + intermediateSize) + 4 * batch * vocabSize;
  return {
    weightBytes,
    cacheBytes: cacheSize,
    scratchBytes,
    totalBytes: weightBytes + cacheSize + scratchBytes,
  };
}

/** Bytes of the largest buffer among the layers' caches. */
export function largestCacheBuffer(shape: DecoderShape, cache: CacheSettings): number {
  const { dtype, batch, pageTokens, capacity = pageTokens } = resolveCacheSettings(cache);
  return Math.max(...shape.layers.map((layout) => cacheBytes({ layers: [layout] }, { dtype, capacity, batch })));
}
