import { type AttentionWeights, type CompressedLayer, KvlrError } from '@kvlr/core';
import { decoderLookup } from './fold/decoder-lookup.ts';
import { foldOutput } from './fold/fold-output.ts';
import { foldOutputBias } from './fold/fold-output-bias.ts';
import { foldSharedHeads } from './fold/fold-shared-heads.ts';
import { resolveMethod } from './methods/compression-methods.ts';
import type { CompressionMethod, SourceLayer } from './ports.ts';
import { queryOrderOf, separateHeads } from './query-heads.ts';
import { requireSourceLayer } from './require-source-layer.ts';

export interface CompressLayerRequest extends SourceLayer {
  /** KV heads that share one head, as a grouping strategy gave them; equal sizes, every head once. */
  groups: readonly (readonly number[])[];
  /** A registered name or a method of one's own. */
  method: string | CompressionMethod;
}

/**
 * Compresses the attention of one layer to one KV head per group, in Float64. Nothing is rounded: the weights that come
 * out compute, in exact arithmetic, what the factors of the method compute.
 *
 * @throws KvlrError 'usage' for an unknown method, 'grouping-invalid', 'tensor-shape' when weights or statistics do not
 *   fit the shape, 'invalid-argument' when the method needs statistics and there are none, 'numerical' when the result is
 *   not finite.
 */
export function compressLayer(request: CompressLayerRequest): CompressedLayer {
  const method = resolveMethod(request.method);
  requireSourceLayer(request, request.groups);
  const { shape, layer, weights, groups } = request;
  const { headDim } = shape;
  const queryOrder = queryOrderOf(shape, groups);

  const keys = method.keys(request, groups);
  const valueHeads = method.valueSlots === 'head' ? separateHeads(groups) : groups;
  const valueSlotWidth = Math.floor((headDim * groups.length) / valueHeads.length);
  const valueFactors = valueHeads.map((heads) => method.values(request, heads, valueSlotWidth));
  const value = foldSharedHeads(weights.value, weights.valueBias, valueHeads, valueFactors, headDim);
  const outputBias = foldOutputBias(request, valueHeads, valueFactors);
  const compressed: AttentionWeights = {
    query: keys.query,
    key: keys.key,
    value: value.weight,
    output: foldOutput(weights.output, queryOrder, decoderLookup(shape, valueHeads, valueFactors), headDim),
    ...(keys.queryBias && { queryBias: keys.queryBias }),
    ...(keys.keyBias && { keyBias: keys.keyBias }),
    ...(value.bias && { valueBias: value.bias }),
    ...(outputBias && { outputBias }),
  };
  requireFinite(layer, { ...compressed, ...keys.latentKeys, ...keys.rebuiltKeys });
  return {
    layer,
    groups: groups.map((heads) => [...heads]),
    queryOrder,
    layout: {
      keySlots: keys.keySlots,
      keySlotWidth: keys.keySlotWidth,
      valueSlots: valueHeads.length,
      valueSlotWidth,
      keys: keys.latentKeys ? 'latent' : keys.rebuiltKeys ? 'rebuilt' : 'stock',
    },
    weights: compressed,
    ...(keys.latentKeys && { latentKeys: keys.latentKeys }),
    ...(keys.rebuiltKeys && { rebuiltKeys: keys.rebuiltKeys }),
  };
}

function requireFinite(layer: number, matrices: Record<string, Float64Array>): void {
  for (const [name, data] of Object.entries(matrices)) {
    const place = data.findIndex((entry) => !Number.isFinite(entry));
    if (place !== -1) {
      throw new KvlrError('numerical', {
        message: `compressLayer: expected finite weights, got ${data[place]} in ${name} of layer ${layer}`,
        remedy: 'Look for extreme values in the weights or statistics of this layer.',
        data: { layer, name, place },
      });
    }
  }
}
