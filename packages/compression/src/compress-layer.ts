import {
  type AttentionWeights,
  type CompressedLayer,
  type DecoderShape,
  type HeadGroups,
  KvlrError,
  type LayerBudget,
  queryOrder,
  separateHeads,
  withPlace,
} from '@kvlr/core';
import { identity } from '@kvlr/linalg';
import { widenHeads } from '@kvlr/rope';
import { valueSlotsOfRank } from './budgets/ranks.ts';
import { decoderLookup, foldOutput, foldOutputBias, foldSharedHeads } from './fold.ts';
import { keysAreLinear } from './key-parts.ts';
import { meanNorms, permutedNorms } from './methods/through-norms.ts';
import type { CompressionMethod, ValueMethod } from './ports.ts';
import { requireSourceLayer, type SourceLayer } from './source-layer.ts';

export interface LayerByMethod extends SourceLayer {
  /** KV heads that share one head, as a grouping strategy gave them; equal sizes, every head once. */
  groups: HeadGroups;
  method: CompressionMethod;
  /**
   * Width of the result's heads in widths of the source's, m: keys of rank m per frequency, values of rank m D. A token's entry
   * takes G m D numbers for keys and for values. At most the size of a group, at which nothing is lost. Default 1.
   */
  headWidth?: number | undefined;
  /**
   * Numbers of keys and of values per token, for methods with `freeRanks`; multiples of the source's KV heads always fill
   * their slots. Default: D for each group and side.
   */
  ranks?: LayerBudget | undefined;
}

/**
 * `compressLayer` with a method that is at hand: the registry, and with it every other method, stays out of a bundle.
 *
 * Compresses the attention of one layer to one KV head per group, in Float64. Nothing is rounded: the weights that come
 * out compute, in exact arithmetic, what the factors of the method compute. Those of wide heads do so in a decoder of the shape
 * that `widenHeads` of @kvlr/rope gives.
 *
 * @throws KvlrError 'grouping-invalid', 'tensor-shape' when weights or statistics do not
 *   fit the shape, 'invalid-argument' when the method needs statistics and there are none, or cannot fill heads of this width,
 *   'unsupported-feature' when the model's heads cannot be widened, 'numerical' when the result is not finite.
 */
export function compressLayerByMethod(request: LayerByMethod): CompressedLayer {
  const { method } = request;
  requireSourceLayer(request, request.groups);
  const { shape, layer, weights, groups, ranks, headWidth = 1 } = request;
  if (ranks !== undefined) requireFreeRanks(method, ranks, request);
  if (headWidth !== 1) requireWideHeads(method, headWidth, request);

  const wide = headWidth * shape.headDim;
  const keyRank = headWidth === 1 ? ranks?.keys : groups.length * wide;
  const { query, queryBias, key, keyBias, keySlots, keySlotWidth, norms, ...keys } =
    keyRank === undefined ? method.keys(request, groups) : method.keys(request, groups, keyRank);
  const { heads: valueHeads, width: valueSlotWidth } = ranks
    ? valueSlotsOfRank(groups, ranks.values, shape.headDim)
    : valueSlotsOf(method, groups, wide);
  // Clipped values of a head of their own stay as they are.
  const areKept =
    shape.attention.clip !== undefined &&
    valueSlotWidth === shape.headDim &&
    valueHeads.every(({ length }) => length === 1);
  const valuesOf = areKept ? keptValues : method.values;
  const valueFactors = valueHeads.map((heads) => valuesOf(request, heads, valueSlotWidth));
  const source = { weight: weights.value, bias: weights.valueBias };
  const value = foldSharedHeads(source, valueHeads, valueFactors, shape.headDim);
  const outputBias = foldOutputBias(request, valueHeads, valueFactors);
  const order = queryOrder(shape, groups);
  const compressed: AttentionWeights = {
    query,
    key,
    value: value.weight,
    output: foldOutput(request, order, decoderLookup(request, valueHeads, valueFactors)),
    ...(queryBias && { queryBias }),
    ...(keyBias && { keyBias }),
    ...(value.bias && { valueBias: value.bias }),
    ...(outputBias && { outputBias }),
    ...(norms ?? (keys.kind === 'latent' ? permutedNorms(request, order) : meanNorms(request, groups))),
  };
  requireFinite(layer, { ...compressed, ...keys });
  return {
    layer,
    groups: groups.map((heads) => [...heads]),
    queryOrder: order,
    slots: { keySlots, keySlotWidth, valueSlots: valueHeads.length, valueSlotWidth },
    keys,
    weights: compressed,
  };
}

const keptValues: ValueMethod = ({ shape }) => {
  const same = identity(shape.headDim);
  return { encoder: same, decoders: [same] };
};

function valueSlotsOf({ valueSlots }: CompressionMethod, groups: HeadGroups, headDim: number) {
  const heads = valueSlots === 'head' ? separateHeads(groups) : groups;
  return { heads, width: Math.floor((headDim * groups.length) / heads.length) };
}

/**
 * Whether a method can fill heads that are wider than the source's: complex factors and subspaces of any rank can, means of heads
 * and latent keys cannot.
 */
export function allowsWideHeads({ wideHeads, valueSlots }: CompressionMethod): boolean {
  return wideHeads?.keys === true && wideHeads.values === true && valueSlots !== 'head';
}

/**
 * Whether heads of these models can be wider than the source's: norms would normalise, and clipping clip, other numbers than the
 * source's, and the scale of scores has to follow the width.
 */
export function canWidenHeads(shape: DecoderShape): boolean {
  return keysAreLinear(shape) && shape.attention.scoreScale === 1 / Math.sqrt(shape.headDim);
}

function requireWideHeads(
  method: CompressionMethod,
  headWidth: number,
  { shape, layer, groups, ranks }: LayerByMethod,
): void {
  const refuse = (message: string, hint: string) => {
    const data = { method: method.title, headWidth };
    return new KvlrError('invalid-argument', { message, hint, where: { layer, argument: 'headWidth' }, data });
  };
  if (!allowsWideHeads(method) || ranks !== undefined) {
    throw refuse(
      `expected heads of the source's width for ${method.title}, got ${headWidth} times that`,
      'Take rope-averaged, or another method whose keys and values may have any rank.',
    );
  }
  if (!canWidenHeads(shape)) {
    throw refuse(
      'expected projections without norms, clipping and scales of scores of their own for wide heads, got others',
      "Keep heads of the source's width.",
    );
  }
  const size = groups[0]!.length;
  if (!(Number.isInteger(headWidth) && headWidth >= 1 && headWidth <= size)) {
    throw refuse(
      `expected a whole number from 1 to ${size}, the heads of a group, got ${headWidth}`,
      'At the size of a group nothing is lost, and nothing saved; wider heads would hold nothing more.',
    );
  }
  try {
    widenHeads(shape, headWidth);
  } catch (error) {
    throw withPlace(error, { layer });
  }
}

function requireFreeRanks(
  method: CompressionMethod,
  { keys, values }: LayerBudget,
  { shape, layer, groups }: LayerByMethod,
): void {
  const { numKeyValueHeads, headDim } = shape;
  const width = numKeyValueHeads * headDim;
  const fits = (rank: number, slots: number) => rank > 0 && rank <= width && Number.isInteger(rank / slots);
  const valueSlots = valueSlotsOfRank(groups, values, headDim).heads.length;
  if (method.freeRanks !== undefined && fits(keys, groups.length) && fits(values, valueSlots)) return;
  throw new KvlrError('invalid-argument', {
    message: method.freeRanks
      ? `expected ranks up to ${width} that fill every slot, got ${keys} for keys and ${values} for values`
      : `expected no ranks for ${method.title}, whose slots are whole heads, got ${keys} and ${values}`,
    hint: method.freeRanks ? 'Take the ranks from rankCandidates.' : 'Set the number of groups instead.',
    where: { layer, argument: 'ranks' },
    data: { method: method.title, keys, values },
  });
}

function requireFinite(layer: number, parts: Record<string, Float64Array | string>): void {
  for (const [name, data] of Object.entries(parts)) {
    if (typeof data === 'string') continue;
    const place = data.findIndex((entry) => !Number.isFinite(entry));
    if (place !== -1) {
      throw new KvlrError('numerical', {
        message: `expected finite weights, got ${data[place]} in ${name}`,
        hint: 'Look for extreme values in the weights or statistics of this layer.',
        where: { layer },
        data: { layer, name, place },
      });
    }
  }
}
