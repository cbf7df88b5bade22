import { type AttentionWeights, type HeadGroups, headComponents, queryHeadsOf, queryOrder } from '@kvlr/core';
import { createMatrix, type Matrix, multiply, multiplyTransposed, rows, transpose } from '@kvlr/linalg';
import { scoreProblemOf, scoreProducts } from '../factors/scores.ts';
import { decoderLookup, foldQuery, foldSharedHeads } from '../fold.ts';
import { keyParts } from '../key-parts.ts';
import { keyMoment } from '../moments.ts';
import { type NormedSide, normOf, normScale, scaleRows, sumOfProducts, withoutNorms } from '../norms.ts';
import type { GroupFactors, StockKeyProjections } from '../ports.ts';
import { requireStatistics, type SourceLayer } from '../source-layer.ts';

/** Norms of queries and keys that stand between their projections and the positions. */
type NormWeights = Pick<AttentionWeights, 'queryNorm' | 'queryNormBias' | 'keyNorm' | 'keyNormBias'>;

/**
 * Folds factors of keys through the norms that stand behind the projections, which no merge of heads passes exactly: a norm divides
 * each token by a length of its own. The norms are taken as the constant factors that they are on average over the calibration
 * text, and the factors folded as without them. The scales of the new norms are then fitted so that each number of the new queries
 * and keys has the energy that the factors ask for, by token lengths that vary as those of the source's heads do. Where one scale
 * serves all heads, a last factor makes the scores the best on average. Exact for heads that differ by a rotation of each pair and
 * by a factor; an approximation, which block reconstruction repairs, for all others.
 */
export function foldThroughNorms(
  layer: SourceLayer,
  groups: HeadGroups,
  factors: readonly GroupFactors[],
): StockKeyProjections {
  const { shape } = layer;
  const { headDim } = shape;
  const order = queryOrder(shape, groups);
  const linear = withoutNorms(layer);
  const decoderOf = decoderLookup(layer, groups, factors);
  const key = foldSharedHeads({ weight: linear.key, bias: linear.keyBias }, groups, factors, headDim);
  const query = foldQuery({ ...layer, weights: linear }, order, decoderOf);

  const keyEnergies = groups.map((heads, group) => encodedEnergy(layer, heads, factors[group]!.encoder));
  const queryEnergies = order.map((head) => decodedEnergy(layer, head, decoderOf(head)));
  const scales = {
    key: fitScales(layer, 'key', groups, keyEnergies),
    query: fitScales(
      layer,
      'query',
      order.map((head) => [head]),
      queryEnergies,
    ),
  };
  const lengths = {
    key: keyEnergies.map((energy, group) => lengthOf(energy, scales.key[group]!)),
    query: queryEnergies.map((energy, place) => lengthOf(energy, scales.query[place]!)),
  };
  const gain = scoreGain(layer, groups, factors, { order, ...lengths });
  const biases = {
    key: groups.map((heads, group) => multiply(factors[group]!.encoder, normBias(layer, 'key', heads)).data),
    query: order.map((head) => multiply(transpose(decoderOf(head)), normBias(layer, 'query', [head])).data),
  };
  return {
    kind: 'stock',
    query: divideRows(query.weight, scales.query),
    queryBias: query.bias && divideRows(query.bias, scales.query),
    key: divideRows(key.weight, scales.key),
    keyBias: key.bias && divideRows(key.bias, scales.key),
    keySlots: groups.length,
    keySlotWidth: headDim,
    norms: {
      ...writtenNorm(layer, 'query', scales.query, biases.query, gain),
      ...writtenNorm(layer, 'key', scales.key, biases.key, 1),
    },
  };
}

/** The norms of a result whose queries stand in this order, and whose keys and norms are otherwise the source's. */
export function permutedNorms({ shape, weights }: SourceLayer, order: readonly number[]): NormWeights {
  const { queryNorm, queryNormBias, keyNorm, keyNormBias } = weights;
  const permute = (data: Float64Array) =>
    shape.attention.queryKeyNorm?.over === 'head'
      ? data
      : Float64Array.from(headComponents(order, shape.headDim), (place) => data[place]!);
  return {
    ...(queryNorm && { queryNorm: permute(queryNorm) }),
    ...(queryNormBias && { queryNormBias: permute(queryNormBias) }),
    ...(keyNorm && { keyNorm }),
    ...(keyNormBias && { keyNormBias }),
  };
}

/** The norms of merged heads whose keys come from a method that says nothing of norms: the means of their groups. */
export function meanNorms(layer: SourceLayer, groups: HeadGroups): NormWeights {
  const { headDim, attention } = layer.shape;
  const { keyNorm, keyNormBias, ...ofQueries } = permutedNorms(layer, queryOrder(layer.shape, groups));
  const mean = (data: Float64Array) =>
    attention.queryKeyNorm?.over === 'head'
      ? data
      : Float64Array.from({ length: groups.length * headDim }, (_, place) => {
          const heads = groups[Math.floor(place / headDim)]!;
          return heads.reduce((sum, head) => sum + data[head * headDim + (place % headDim)]!, 0) / heads.length;
        });
  return {
    ...ofQueries,
    ...(keyNorm && { keyNorm: mean(keyNorm) }),
    ...(keyNormBias && { keyNormBias: mean(keyNormBias) }),
  };
}

/** Biases of some heads' norms one under another, [t*D, 1]; zeros where there are none. */
function normBias(layer: SourceLayer, side: NormedSide, heads: readonly number[]): Matrix {
  const { headDim } = layer.shape;
  const written = layer.weights[`${side}NormBias`];
  const places = headComponents(normOf(layer).over === 'head' ? heads.map(() => 0) : heads, headDim);
  return createMatrix(
    places.length,
    1,
    Float64Array.from(places, (place) => written?.[place] ?? 0),
  );
}

/** E z_c^2 of the keys z = A k that the heads of a group are to share, [D]. */
function encodedEnergy(layer: SourceLayer, heads: readonly number[], encoder: Matrix): Float64Array {
  const moment = keyMoment(layer, heads, layer.statistics === undefined ? 'weights' : 'activations');
  return diagonalOfProduct(encoder, multiply(encoder, moment));
}

/** E (B^T q)_c^2 of a query head, [D]. */
function decodedEnergy(layer: SourceLayer, queryHead: number, decoder: Matrix): Float64Array {
  const encoded = transpose(decoder);
  return diagonalOfProduct(encoded, multiply(encoded, queryMoment(layer, queryHead)));
}

function queryMoment(layer: SourceLayer, queryHead: number): Matrix {
  const { headDim, hiddenSize } = layer.shape;
  if (layer.statistics === undefined) {
    const all = createMatrix(layer.weights.query.length / hiddenSize, hiddenSize, withoutNorms(layer).query);
    const own = rows(all, queryHead * headDim, headDim);
    return multiplyTransposed(own, own);
  }
  const { querySecondMoment } = requireStatistics(layer);
  return rows(
    createMatrix(querySecondMoment.length / headDim, headDim, querySecondMoment),
    queryHead * headDim,
    headDim,
  );
}

/** sum over columns of left[c] right[c], row by row. */
function diagonalOfProduct(left: Matrix, right: Matrix): Float64Array {
  return Float64Array.from({ length: left.rows }, (_, row) => {
    const start = row * left.cols;
    return sumOfProducts(left.data.subarray(start, start + left.cols), right.data.subarray(start, start + left.cols));
  });
}

/**
 * Scales of the new norm for each head of the result, [D] each, by pairs of coordinates that rotate together: energy wanted over
 * energy of the source's heads behind the norm and before its scale. The numbers in front of the new norm then have the energies of
 * those in front of the old one, so that its lengths follow the old ones. One for all heads where the norm is over each head alike.
 */
function fitScales(
  layer: SourceLayer,
  side: NormedSide,
  sources: HeadGroups,
  wanted: readonly Float64Array[],
): Float64Array[] {
  const { headDim } = layer.shape;
  const { weight, over } = normOf(layer);
  if (!weight) return wanted.map((energy) => energy.map(() => 1));
  const partners = pairPartners(layer);
  const ratios = sources.map((heads, place) => {
    const energy = normedEnergy(layer, side, heads);
    return Float64Array.from({ length: headDim }, (_, c) => {
      const ratio = (wanted[place]![c]! + wanted[place]![partners[c]!]!) / (energy[c]! + energy[partners[c]!]!);
      return ratio > 0 && Number.isFinite(ratio) ? ratio : 1;
    });
  });
  if (over !== 'head') return ratios.map((ratio) => ratio.map(Math.sqrt));
  const shared = Float64Array.from({ length: headDim }, (_, c) =>
    Math.sqrt(ratios.reduce((sum, ratio) => sum + ratio[c]!, 0) / ratios.length),
  );
  return ratios.map(() => shared);
}

/** Mean over heads of E n_c^2, n what the norm gives before its scale, [D]. */
function normedEnergy(layer: SourceLayer, side: NormedSide, heads: readonly number[]): Float64Array {
  const { headDim } = layer.shape;
  const energy = new Float64Array(headDim);
  for (const head of heads) {
    const scale = normScale(layer, side, head);
    const moment =
      side === 'query'
        ? queryMoment(layer, head)
        : keyMoment(layer, [head], layer.statistics === undefined ? 'weights' : 'activations');
    for (let c = 0; c < headDim; c++) {
      energy[c]! += moment.data[c * (headDim + 1)]! / Math.max(scale[c]! ** 2, Number.MIN_VALUE) / heads.length;
    }
  }
  return energy;
}

/** The coordinate that each rotates with; itself where it does not rotate. */
function pairPartners(layer: SourceLayer): number[] {
  const partners: number[] = [];
  for (const { coordinates, rotates } of keyParts(layer)) {
    const half = coordinates.length / 2;
    coordinates.forEach((coordinate, index) => {
      partners[coordinate] = rotates ? coordinates[(index + half) % coordinates.length]! : coordinate;
    });
  }
  return partners;
}

/** Root mean square in front of the new norm of numbers with these energies behind its scale: what the norm divides by. */
function lengthOf(energy: Float64Array, scale: Float64Array): number {
  const square = energy.reduce((sum, value, c) => sum + value / scale[c]! ** 2, 0) / energy.length;
  return square > 0 ? Math.sqrt(square) : 1;
}

/**
 * The factor of all queries that makes the scores the best on average over distances, where the norms give every head the same
 * length whatever its factors ask for. 1 where each head has scales of its own, which have seen to it.
 */
function scoreGain(
  layer: SourceLayer,
  groups: HeadGroups,
  factors: readonly GroupFactors[],
  { order, key, query }: { order: readonly number[]; key: readonly number[]; query: readonly number[] },
): number {
  const { shape, statistics } = layer;
  const [part, ...others] = keyParts(layer);
  const isPlain = others.length === 0 && part!.rotates && part!.coordinates.every((place, index) => place === index);
  if (normOf(layer).over !== 'head' || !isPlain || statistics === undefined) return 1;
  let square = 0;
  let product = 0;
  groups.forEach((heads, group) => {
    const products = scoreProducts(scoreProblemOf(layer, heads, part!.coordinates), factors[group]!);
    heads.forEach((head, place) => {
      const readers = queryHeadsOf(shape, [head]);
      for (const reader of readers) {
        const length = key[group]! * query[order.indexOf(reader)]!;
        square += products[place]!.square / length ** 2 / readers.length;
        product += products[place]!.product / length / readers.length;
      }
    });
  });
  return square > 0 && product > 0 ? product / square : 1;
}

/** A projection's norm as the file holds it. */
function writtenNorm(
  layer: SourceLayer,
  side: NormedSide,
  scales: readonly Float64Array[],
  biases: readonly Float64Array[],
  gain: number,
): NormWeights {
  const { over, weight, bias, unitOffset } = normOf(layer);
  const together = (parts: readonly Float64Array[]) => {
    if (over !== 'head') return Float64Array.from(parts.flatMap((part) => [...part]));
    return parts[0]!.map((_, c) => parts.reduce((sum, part) => sum + part[c]!, 0) / parts.length);
  };
  return {
    ...(weight && { [`${side}Norm`]: together(scales).map((scale) => gain * scale - (unitOffset ? 1 : 0)) }),
    ...(bias && { [`${side}NormBias`]: together(biases).map((constant) => gain * constant) }),
  };
}

/** Rows of all heads, each divided by its scale. */
function divideRows(data: Float64Array, scales: readonly Float64Array[]): Float64Array {
  const count = scales.reduce((sum, scale) => sum + scale.length, 0);
  const headDim = scales[0]!.length;
  return scaleRows(data, data.length / count, (row) => 1 / scales[Math.floor(row / headDim)]![row % headDim]!);
}
