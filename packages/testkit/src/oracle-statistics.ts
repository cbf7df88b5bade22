import { type AttentionWeights, type DecoderShape, type LayerStatistics, layerRope } from '@kvlr/core';

/**
 * Statistics of one layer for given block inputs, in plain loops that share no code with the packages they judge.
 *
 * @param inputs Normed block inputs, one row of hiddenSize per token; position n is row n. Default RoPE only.
 */
export function oracleStatistics(
  shape: DecoderShape,
  layer: number,
  weights: AttentionWeights,
  inputs: readonly Float64Array[],
): LayerStatistics {
  const { headDim, numAttentionHeads, numKeyValueHeads } = shape;
  const project = (matrix: Float64Array, bias: Float64Array | undefined) => inputs.map((x) => affine(matrix, x, bias));
  const query = project(weights.query, weights.queryBias);
  const key = project(weights.key, weights.keyBias);
  const value = project(weights.value, weights.valueBias);
  const { theta } = layerRope(shape, layer)!.rope;
  const turn = (rows: Float64Array[]) => rows.map((row, position) => rotate(row, position, headDim, theta));
  const rotatedQuery = turn(query);
  const rotatedKey = turn(key);
  const attended = inputs.map((_, position) => {
    const result = new Float64Array(numAttentionHeads * headDim);
    for (let head = 0; head < numAttentionHeads; head++) {
      const start = Math.floor((head * numKeyValueHeads) / numAttentionHeads) * headDim;
      const queryRow = slice(rotatedQuery[position]!, head * headDim, headDim);
      const exponentials = rotatedKey
        .slice(0, position + 1)
        .map((row) => Math.exp(dot(queryRow, slice(row, start, headDim)) / Math.sqrt(headDim)));
      const total = exponentials.reduce((sum, entry) => sum + entry, 0);
      exponentials.forEach((entry, n) => {
        for (let c = 0; c < headDim; c++) result[head * headDim + c]! += (entry / total) * value[n]![start + c]!;
      });
    }
    return result;
  });
  const perHead = (rows: Float64Array[]) =>
    Float64Array.from(
      Array.from({ length: numAttentionHeads }, (_, head) => [
        ...secondMoment(rows.map((row) => slice(row, head * headDim, headDim))),
      ]).flat(),
    );
  return {
    layer,
    tokenCount: inputs.length,
    inputSecondMoment: secondMoment(inputs),
    inputMean: mean(inputs),
    keySecondMoment: secondMoment(key),
    keyMean: mean(key),
    rotatedKeySecondMoment: secondMoment(rotatedKey),
    rotatedKeyMean: mean(rotatedKey),
    valueSecondMoment: secondMoment(value),
    valueMean: mean(value),
    querySecondMoment: perHead(query),
    rotatedQuerySecondMoment: perHead(rotatedQuery),
    attendedSecondMoment: secondMoment(attended),
    attendedMean: mean(attended),
  };
}

function affine(matrix: Float64Array, input: Float64Array, bias: Float64Array | undefined): Float64Array {
  const width = input.length;
  return Float64Array.from(
    { length: matrix.length / width },
    (_, row) => (bias?.[row] ?? 0) + dot(slice(matrix, row * width, width), input),
  );
}

function rotate(row: Float64Array, position: number, headDim: number, theta: number): Float64Array {
  const half = headDim / 2;
  return row.map((entry, index) => {
    const place = index % headDim;
    const angle = position * theta ** ((-2 * (place % half)) / headDim);
    return place < half
      ? entry * Math.cos(angle) - row[index + half]! * Math.sin(angle)
      : entry * Math.cos(angle) + row[index - half]! * Math.sin(angle);
  });
}

function secondMoment(rows: readonly Float64Array[]): Float64Array {
  const width = rows[0]!.length;
  return Float64Array.from({ length: width * width }, (_, index) => {
    const left = Math.floor(index / width);
    const right = index % width;
    return rows.reduce((sum, row) => sum + row[left]! * row[right]!, 0) / rows.length;
  });
}

function mean(rows: readonly Float64Array[]): Float64Array {
  return rows[0]!.map((_, index) => rows.reduce((sum, row) => sum + row[index]!, 0) / rows.length);
}

function slice(row: Float64Array, start: number, count: number): Float64Array {
  return row.subarray(start, start + count);
}

function dot(left: Float64Array, right: Float64Array): number {
  return left.reduce((sum, entry, index) => sum + entry * right[index]!, 0);
}
