import {
  type AttentionWeights,
  headComponents,
  type LayerStatistics,
  type PositionShape,
  queryHeadsOf,
  stockLayout,
} from '@kvlr/core';
import { columns, createMatrix, type Matrix, rows, selectTiles } from '@kvlr/linalg';
import { type LayerData, requireWeights, type SourceLayer } from './source-layer.ts';

/** Rows of some heads from a projection [heads*D, inputs], in the order of `heads`: [t*D, inputs]. */
export function headRows(weight: Float64Array, heads: readonly number[], headDim: number, inputs: number): Matrix {
  return rows(createMatrix(weight.length / inputs, inputs, weight), headComponents(heads, headDim));
}

/** Columns of the output projection that read some query heads, in the order of `queryHeads`: [hiddenSize, n*D]. */
export function outputColumns(layer: LayerData, queryHeads: readonly number[]): Matrix {
  const { numAttentionHeads, headDim } = layer.shape;
  const { output } = requireWeights(layer);
  const width = numAttentionHeads * headDim;
  return columns(createMatrix(output.length / width, width, output), headComponents(queryHeads, headDim));
}

/**
 * The layer as if it had only these KV heads and their query heads: its output is their part of the block's output, and
 * the output bias. Statistics of the block's input stay as they are.
 *
 * @param heads KV heads, ascending.
 */
export function selectHeads(source: SourceLayer, heads: readonly number[]): SourceLayer {
  const { shape, layer, weights, statistics } = source;
  const { headDim } = shape;
  const queryHeads = queryHeadsOf(shape, heads);
  return {
    shape: {
      ...shape,
      numAttentionHeads: queryHeads.length,
      numKeyValueHeads: heads.length,
      layers: shape.layers.map((one) => ({
        ...one,
        cache: stockLayout(heads.length, headDim),
        positions: positionsOfHeads(one.positions, queryHeads),
      })),
    },
    layer,
    weights: {
      ...projectionsOfHeads(source, queryHeads, heads),
      ...normsOfHeads(source, queryHeads, heads),
      output: outputColumns(source, queryHeads).data,
      ...(weights.outputBias && { outputBias: weights.outputBias }),
    },
    statistics: statistics && selectStatistics(statistics, heads, queryHeads, headDim),
  };
}

function projectionsOfHeads(
  { shape, weights }: SourceLayer,
  queryHeads: readonly number[],
  heads: readonly number[],
): Omit<AttentionWeights, 'output' | 'outputBias'> {
  const { headDim, hiddenSize } = shape;
  const weight = (projection: Float64Array, of: readonly number[]) =>
    headRows(projection, of, headDim, hiddenSize).data;
  const bias = (name: 'queryBias' | 'keyBias' | 'valueBias', of: readonly number[]) => {
    const data = weights[name];
    return data && { [name]: headRows(data, of, headDim, 1).data };
  };
  return {
    query: weight(weights.query, queryHeads),
    key: weight(weights.key, heads),
    value: weight(weights.value, heads),
    ...bias('queryBias', queryHeads),
    ...bias('keyBias', heads),
    ...bias('valueBias', heads),
  };
}

/** The norms that these heads have; a norm of all heads together goes on as one of these alone. */
function normsOfHeads(
  { shape, weights }: SourceLayer,
  queryHeads: readonly number[],
  heads: readonly number[],
): Partial<AttentionWeights> {
  const of = (name: 'queryNorm' | 'queryNormBias' | 'keyNorm' | 'keyNormBias') => {
    const data = weights[name];
    if (data === undefined || shape.attention.queryKeyNorm?.over === 'head') return data && { [name]: data };
    return { [name]: headRows(data, name.startsWith('query') ? queryHeads : heads, shape.headDim, 1).data };
  };
  return { ...of('queryNorm'), ...of('queryNormBias'), ...of('keyNorm'), ...of('keyNormBias') };
}

/** ALiBi's slopes belong to heads. */
function positionsOfHeads(positions: PositionShape, queryHeads: readonly number[]): PositionShape {
  if (positions.kind !== 'alibi') return positions;
  return { ...positions, slopes: queryHeads.map((head) => positions.slopes[head]!) };
}

function selectStatistics(
  statistics: LayerStatistics,
  heads: readonly number[],
  queryHeads: readonly number[],
  headDim: number,
): LayerStatistics {
  const moment = (square: Float64Array, of: readonly number[]) => selectTiles(square, headDim, of).data;
  const mean = (row: Float64Array, of: readonly number[]) => headRows(row, of, headDim, 1).data;
  const perHead = (blocks: Float64Array) => headRows(blocks, queryHeads, headDim, headDim).data;
  return {
    ...statistics,
    keySecondMoment: moment(statistics.keySecondMoment, heads),
    keyMean: mean(statistics.keyMean, heads),
    rotatedKeySecondMoment: moment(statistics.rotatedKeySecondMoment, heads),
    rotatedKeyMean: mean(statistics.rotatedKeyMean, heads),
    valueSecondMoment: moment(statistics.valueSecondMoment, heads),
    valueMean: mean(statistics.valueMean, heads),
    receivedValueSecondMoment: moment(statistics.receivedValueSecondMoment, heads),
    querySecondMoment: perHead(statistics.querySecondMoment),
    rotatedQuerySecondMoment: perHead(statistics.rotatedQuerySecondMoment),
    attendedSecondMoment: moment(statistics.attendedSecondMoment, queryHeads),
    attendedMean: mean(statistics.attendedMean, queryHeads),
  };
}
