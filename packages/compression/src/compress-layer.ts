import { type AttentionWeights, type CompressedLayer, KvlrError, type LayerBudget } from '@kvlr/core';
import { valueSlotsOfRank } from './budgets/value-slots.ts';
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
  /**
   * Numbers of keys and of values per token, for methods with `freeRanks`; multiples of the source's KV heads always fill
   * their slots. Default: D for each group and side.
   */
  ranks?: LayerBudget | undefined;
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

  const { ranks } = request;
  if (ranks !== undefined) requireFreeRanks(method, ranks, groups, shape);
  const keys = ranks === undefined ? method.keys(request, groups) : method.keys(request, groups, ranks.keys);
  const { heads: valueHeads, width: valueSlotWidth } = valueSlotsOf(method, groups, headDim, ranks);
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

function valueSlotsOf(
  { valueSlots }: CompressionMethod,
  groups: readonly (readonly number[])[],
  headDim: number,
  ranks: LayerBudget | undefined,
): { heads: readonly (readonly number[])[]; width: number } {
  if (ranks !== undefined) return valueSlotsOfRank(groups, ranks.values, headDim);
  const heads = valueSlots === 'head' ? separateHeads(groups) : groups;
  return { heads, width: Math.floor((headDim * groups.length) / heads.length) };
}

function requireFreeRanks(
  method: CompressionMethod,
  { keys, values }: LayerBudget,
  groups: readonly (readonly number[])[],
  { numKeyValueHeads, headDim }: SourceLayer['shape'],
): void {
  const width = numKeyValueHeads * headDim;
  const fits = (rank: number, slots: number) => rank > 0 && rank <= width && Number.isInteger(rank / slots);
  const valueSlots = valueSlotsOfRank(groups, values, headDim).heads.length;
  if (method.freeRanks !== undefined && fits(keys, groups.length) && fits(values, valueSlots)) return;
  throw new KvlrError('invalid-argument', {
    message: method.freeRanks
      ? `compressLayer: expected ranks up to ${width} that fill every slot, got ${keys} for keys and ${values} for values`
      : `compressLayer: expected no ranks for ${method.title}, whose slots are whole heads, got ${keys} and ${values}`,
    hint: method.freeRanks ? 'Take the ranks from rankCandidates.' : 'Set the number of groups instead.',
    data: { method: method.title, keys, values },
  });
}

function requireFinite(layer: number, matrices: Record<string, Float64Array>): void {
  for (const [name, data] of Object.entries(matrices)) {
    const place = data.findIndex((entry) => !Number.isFinite(entry));
    if (place !== -1) {
      throw new KvlrError('numerical', {
        message: `compressLayer: expected finite weights, got ${data[place]} in ${name} of layer ${layer}`,
        hint: 'Look for extreme values in the weights or statistics of this layer.',
        data: { layer, name, place },
      });
    }
  }
}
