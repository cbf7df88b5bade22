import { ascendingHeads, everyHead, type HeadGroups, KvlrError, queryOrder, separateHeads } from '@kvlr/core';
import { createMatrix, selectTiles, transpose, vstack } from '@kvlr/linalg';
import { normalizeEnergy, subspaceFactors } from '../factors/subspace.ts';
import { decoderLookup, foldQuery, foldSharedHeads, permuteQuery } from '../fold.ts';
import { headRows } from '../heads.ts';
import { keysAreLinear, keysStay } from '../key-parts.ts';
import { centredMoment, keyMoment, queryMetric } from '../moments.ts';
import type { KeyMethod, RopeStrategy, StockKeyProjections } from '../ports.ts';
import { requireStatistics, type SourceLayer } from '../source-layer.ts';
import { stillKeys } from './keys.ts';
import { foldThroughNorms, permutedNorms } from './through-norms.ts';

/**
 * Stock keys: the factors of a key method are folded into the query and key projections, before RoPE. The result is
 * ordinary grouped-query attention with ordinary RoPE. In wide heads queries are sqrt(m) times as large, since scores are divided
 * by the square root of a head's width. Where the projections are clipped or normed first, heads that are kept stay as they are,
 * and merged ones are an approximation.
 */
export function foldedKeys(method: KeyMethod): RopeStrategy {
  return (layer, groups, rank) => {
    const { shape, weights } = layer;
    const { queryKeyNorm, clip } = shape.attention;
    const width = rank === undefined ? shape.headDim : rank / groups.length;
    const isKept = groups.every((heads) => heads.length === 1) && width === shape.headDim;
    if (isKept && (queryKeyNorm ?? clip) !== undefined) return keptKeys(layer, groups);
    const factors = groups.map((heads) => method(layer, heads, width));
    if (queryKeyNorm !== undefined) return foldThroughNorms(layer, groups, factors);
    const source = { weight: weights.key, bias: weights.keyBias };
    const key = foldSharedHeads(source, groups, factors, shape.headDim);
    const query = foldQuery(layer, queryOrder(shape, groups), decoderLookup(layer, groups, factors));
    const factor = Math.sqrt(width / shape.headDim);
    const stretched = (data: Float64Array) => (factor === 1 ? data : data.map((value) => factor * value));
    return {
      kind: 'stock',
      query: stretched(query.weight),
      queryBias: query.bias && stretched(query.bias),
      key: key.weight,
      keyBias: key.bias,
      keySlots: groups.length,
      keySlotWidth: width,
    };
  };
}

/** The source's heads, in the order of the groups of one. */
function keptKeys(layer: SourceLayer, groups: HeadGroups): StockKeyProjections {
  const { headDim, hiddenSize } = layer.shape;
  const { key, keyBias } = layer.weights;
  const query = permuteQuery(layer, queryOrder(layer.shape, groups));
  return {
    kind: 'stock',
    query: query.weight,
    queryBias: query.bias,
    key: headRows(key, groups.flat(), headDim, hiddenSize).data,
    keyBias: keyBias && headRows(keyBias, groups.flat(), headDim, 1).data,
    keySlots: groups.length,
    keySlotWidth: headDim,
  };
}

/** Whether keys are folded although the strategy has another layout for rotated ones: nothing rotates them or stands before them. */
function isFolded(layer: SourceLayer, rank: number | undefined): boolean {
  return rank === undefined && layer.shape.attention.queryKeyNorm === undefined && keysStay(layer);
}

export interface LatentKeySettings {
  /**
   * 'layer': one basis of rank G*D over all heads, read whole by every head (arXiv 2406.07056, section 3.3).
   * 'group': one basis of rank D per group; a score costs what it costs in grouped-query attention.
   * 'head': one basis of rank D*G/K per head, as methods that leave heads apart do (arXiv 2512.05916).
   */
  basis: 'layer' | 'group' | 'head';
  /** 'identity' counts errors of the rotated keys; 'query' counts them as the logits see them. */
  metric: 'identity' | 'query';
  /** Leave out the keys' mean over positions, which softmax ignores. */
  centred?: boolean;
}

/**
 * Latent keys: rotated keys are projected onto the leading directions of their second moment, and rotated queries with
 * them. The projection stands after RoPE, so it cannot be folded into the weights: only kvlr's runtime runs the result.
 * Layers without RoPE have the directions of each group folded into their projections instead (the same, at the cost of grouped-query
 * attention), unless heads or ranks ask for other slots.
 */
export function latentKeys({ basis, metric, centred = false }: LatentKeySettings): RopeStrategy {
  const folded = foldedKeys(stillKeys({ moment: centred ? 'centred' : 'activations', metric }));
  return (layer, groups, rank) => {
    if (basis !== 'head' && isFolded(layer, rank)) return folded(layer, groups);
    const { shape, weights } = layer;
    const { headDim, numKeyValueHeads } = shape;
    const { rotatedKeySecondMoment, rotatedKeyMean } = requireStatistics(layer);
    const slots = { layer: [everyHead(numKeyValueHeads)], group: groups, head: separateHeads(groups) }[basis];
    const keySlotWidth = Math.floor((rank ?? groups.length * headDim) / slots.length);

    const factors = slots.map((heads) => {
      const moment = centred
        ? centredMoment(rotatedKeySecondMoment, rotatedKeyMean, heads, headDim)
        : selectTiles(rotatedKeySecondMoment, headDim, heads);
      const blocks = metric === 'query' ? queryMetric(layer, heads, 'rotated') : undefined;
      return subspaceFactors(moment, headDim, keySlotWidth, blocks);
    });

    const keyWidth = numKeyValueHeads * headDim;
    const encoder = createMatrix(slots.length * keySlotWidth, keyWidth);
    slots.forEach((heads, slot) => {
      const block = factors[slot]!.encoder;
      for (let row = 0; row < keySlotWidth; row++) {
        heads.forEach((head, place) => {
          const start = row * block.cols + place * headDim;
          const target = (slot * keySlotWidth + row) * keyWidth + head * headDim;
          encoder.data.set(block.data.subarray(start, start + headDim), target);
        });
      }
    });

    const order = queryOrder(shape, groups);
    const decoderOf = decoderLookup(layer, slots, factors);
    const query = permuteQuery(layer, order);
    return {
      kind: 'latent',
      encoder: encoder.data,
      queryEncoder: vstack(...order.map((queryHead) => transpose(decoderOf(queryHead)))).data,
      query: query.weight,
      queryBias: query.bias,
      key: weights.key,
      keyBias: weights.keyBias,
      keySlots: slots.length,
      keySlotWidth,
      norms: permutedNorms(layer, order),
    };
  };
}

export interface RebuiltKeySettings {
  /** 'identity' counts errors of the keys before RoPE; 'query' counts them as the queries before RoPE would see them. */
  metric: 'identity' | 'query';
}

/**
 * Rebuilt keys: each group caches the D leading directions of its keys before RoPE, folded into the key projection. The
 * keys of all heads are rebuilt from them and rotated at every step (Palu, arXiv 2407.21118), so RoPE costs no accuracy and
 * every step pays for all cached positions. Without RoPE there is nothing to rebuild for: the directions are folded.
 *
 * @throws KvlrError 'unsupported-feature' where projections are clipped or normed: latents would be so in the place of the keys.
 */
export function rebuiltKeys({ metric }: RebuiltKeySettings): RopeStrategy {
  const folded = foldedKeys(stillKeys({ moment: 'activations', metric }));
  return (layer, groups, rank) => {
    if (isFolded(layer, rank)) return folded(layer, groups);
    const { shape, weights } = layer;
    const { headDim } = shape;
    if (!keysAreLinear(shape)) throw notLinear(layer);
    const keySlotWidth = Math.floor((rank ?? groups.length * headDim) / groups.length);
    // The heads of a group ascend, as the query heads that read them do.
    const ascending = ascendingHeads(groups);
    const factors = ascending.map((heads) => {
      const moment = keyMoment(layer, heads, 'activations');
      const blocks = metric === 'query' ? queryMetric(layer, heads, 'projected') : undefined;
      return normalizeEnergy(subspaceFactors(moment, headDim, keySlotWidth, blocks), moment);
    });
    const source = { weight: weights.key, bias: weights.keyBias };
    const key = foldSharedHeads(source, ascending, factors, headDim);
    const query = permuteQuery(layer, queryOrder(shape, groups));
    return {
      kind: 'rebuilt',
      decoder: vstack(...factors.flatMap(({ decoders }) => decoders)).data,
      query: query.weight,
      queryBias: query.bias,
      key: key.weight,
      keyBias: key.bias,
      keySlots: groups.length,
      keySlotWidth,
    };
  };
}

function notLinear({ layer }: SourceLayer): KvlrError {
  return new KvlrError('unsupported-feature', {
    message: 'expected keys that are projected and no more, to rebuild them from latents, got clipped or normed ones',
    hint: 'Take a method whose keys are stock or latent.',
    where: { layer },
  });
}
