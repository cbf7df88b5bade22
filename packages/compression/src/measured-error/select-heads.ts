import type { AttentionWeights, LayerStatistics } from '@kvlr/core';
import { stockLayout } from '@kvlr/core';
import { selectTiles } from '@kvlr/linalg';
import { headRows } from '../moments/head-rows.ts';
import type { SourceLayer } from '../ports.ts';
import { queryHeadsOf } from '../query-heads.ts';

/**
 * The layer as if it had only these KV heads and their query heads: its output is their part of the block's output, and
 * the output bias. Statistics of the block's input stay as they are.
 *
 * @param heads KV heads, ascending.
 */
export function selectHeads({ shape, layer, weights, statistics }: SourceLayer, heads: readonly number[]): SourceLayer {
  const { headDim, hiddenSize } = shape;
  const queryHeads = queryHeadsOf(shape, heads);
  const rows = (projection: Float64Array, of: readonly number[], inputs: number) =>
    headRows(projection, of, headDim, inputs).data;
  const rowsIfPresent = (bias: Float64Array | undefined, of: readonly number[]) => bias && rows(bias, of, 1);
  const queryBias = rowsIfPresent(weights.queryBias, queryHeads);
  const keyBias = rowsIfPresent(weights.keyBias, heads);
  const valueBias = rowsIfPresent(weights.valueBias, heads);
  const selected: AttentionWeights = {
    query: rows(weights.query, queryHeads, hiddenSize),
    key: rows(weights.key, heads, hiddenSize),
    value: rows(weights.value, heads, hiddenSize),
    output: headColumns(weights.output, queryHeads, headDim, hiddenSize),
    ...(queryBias && { queryBias }),
    ...(keyBias && { keyBias }),
    ...(valueBias && { valueBias }),
    ...(weights.outputBias && { outputBias: weights.outputBias }),
  };
  return {
    shape: {
      ...shape,
      numAttentionHeads: queryHeads.length,
      numKeyValueHeads: heads.length,
      layers: shape.layers.map(() => stockLayout(heads.length, headDim)),
    },
    layer,
    weights: selected,
    statistics: statistics && selectStatistics(statistics, heads, queryHeads, headDim),
  };
}

/** Columns of some heads from [rows, heads*D]. */
function headColumns(matrix: Float64Array, heads: readonly number[], headDim: number, rows: number): Float64Array {
  const width = matrix.length / rows;
  const selected = new Float64Array(rows * heads.length * headDim);
  for (let row = 0; row < rows; row++) {
    heads.forEach((head, place) => {
      const start = row * width + head * headDim;
      selected.set(matrix.subarray(start, start + headDim), (row * heads.length + place) * headDim);
    });
  }
  return selected;
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
    layer: statistics.layer,
    tokenCount: statistics.tokenCount,
    inputSecondMoment: statistics.inputSecondMoment,
    inputMean: statistics.inputMean,
    keySecondMoment: moment(statistics.keySecondMoment, heads),
    keyMean: mean(statistics.keyMean, heads),
    rotatedKeySecondMoment: moment(statistics.rotatedKeySecondMoment, heads),
    rotatedKeyMean: mean(statistics.rotatedKeyMean, heads),
    valueSecondMoment: moment(statistics.valueSecondMoment, heads),
    valueMean: mean(statistics.valueMean, heads),
    querySecondMoment: perHead(statistics.querySecondMoment),
    rotatedQuerySecondMoment: perHead(statistics.rotatedQuerySecondMoment),
    attendedSecondMoment: moment(statistics.attendedSecondMoment, queryHeads),
    attendedMean: mean(statistics.attendedMean, queryHeads),
  };
}
