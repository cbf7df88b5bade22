import type { AttentionWeights, DecoderShape, LayerStatistics, PositionShape } from '@kvlr/core';

/**
 * Statistics of one layer for given block inputs, in plain loops that share no code with the packages they check.
 *
 * @param inputs Normed block inputs, one row of hiddenSize per token; position n is row n. RoPE of type 'default' only, in part and
 *   interleaved too; ALiBi without rounding; norms of queries and keys by RMSNorm, clipping, windows, caps. What attention positions
 *   get is asked of the last of every 16 queries.
 */
export function oracleStatistics(
  shape: DecoderShape,
  layer: number,
  weights: AttentionWeights,
  inputs: readonly Float64Array[],
): LayerStatistics {
  const { headDim, numAttentionHeads, numKeyValueHeads } = shape;
  const { clip = Number.POSITIVE_INFINITY, softCap, scoreScale } = shape.attention;
  const { positions, window = inputs.length } = shape.layers[layer]!;
  const project = (matrix: Float64Array, bias: Float64Array | undefined) =>
    inputs.map((x) => affine(matrix, x, bias).map((entry) => Math.max(-clip, Math.min(clip, entry))));
  const query = project(weights.query, weights.queryBias).map((row) => rmsNorm(row, weights.queryNorm, shape));
  const key = project(weights.key, weights.keyBias).map((row) => rmsNorm(row, weights.keyNorm, shape));
  const value = project(weights.value, weights.valueBias);
  const turn = (rows: Float64Array[]) => rows.map((row, position) => rotate(row, position, headDim, positions));
  const rotatedQuery = turn(query);
  const rotatedKey = turn(key);
  const received = inputs.map(() => 0);
  const attended = inputs.map((_, position) => {
    const queriesAsked = position % 16 === 15 ? 16 : position === inputs.length - 1 ? (position % 16) + 1 : 0;
    const result = new Float64Array(numAttentionHeads * headDim);
    for (let head = 0; head < numAttentionHeads; head++) {
      const start = Math.floor((head * numKeyValueHeads) / numAttentionHeads) * headDim;
      const queryRow = slice(rotatedQuery[position]!, head * headDim, headDim);
      const exponentials = rotatedKey.slice(0, position + 1).map((row, n) => {
        const score = scoreScale * dot(queryRow, slice(row, start, headDim));
        const capped = softCap === undefined ? score : softCap * Math.tanh(score / softCap);
        const penalty = positions.kind === 'alibi' ? positions.slopes[head]! * (n - position) : 0;
        return n > position - window ? Math.exp(capped + penalty) : 0;
      });
      const total = exponentials.reduce((sum, entry) => sum + entry, 0);
      exponentials.forEach((entry, n) => {
        received[n]! += (queriesAsked * entry) / total / numAttentionHeads;
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
    receivedValueSecondMoment: secondMoment(value.map((row, n) => row.map((entry) => entry * Math.sqrt(received[n]!)))),
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

/** Pair j of the rotated numbers of each head, wherever its two numbers lie, by the angle position * theta^(-2j / rotaryDim). */
function rotate(row: Float64Array, position: number, headDim: number, positions: PositionShape): Float64Array {
  if (positions.kind !== 'rope') return row;
  const { rope, rotaryDim, pairs } = positions;
  const result = row.slice();
  for (let start = 0; start < row.length; start += headDim) {
    for (let j = 0; j < rotaryDim / 2; j++) {
      const first = start + (pairs === 'interleaved' ? 2 * j : j);
      const second = pairs === 'interleaved' ? first + 1 : first + rotaryDim / 2;
      const angle = position * rope.theta ** ((-2 * j) / rotaryDim);
      result[first] = row[first]! * Math.cos(angle) - row[second]! * Math.sin(angle);
      result[second] = row[second]! * Math.cos(angle) + row[first]! * Math.sin(angle);
    }
  }
  return result;
}

/** The norm of queries and keys of one token, over each head or over all of them. */
function rmsNorm(row: Float64Array, scale: Float64Array | undefined, shape: DecoderShape): Float64Array {
  const { queryKeyNorm: norm } = shape.attention;
  if (norm === undefined) return row;
  const size = norm.over === 'projection' ? row.length : shape.headDim;
  return row.map((entry, index) => {
    const own = row.subarray(index - (index % size), index - (index % size) + size);
    const length = Math.sqrt(dot(own, own) / size + norm.epsilon);
    const factor = (scale?.[norm.over === 'head' ? index % size : index] ?? 1) + (norm.unitOffset ? 1 : 0);
    return (entry / length) * factor;
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
