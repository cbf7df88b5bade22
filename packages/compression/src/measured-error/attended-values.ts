import type { AttentionWeights, CompressedLayer, DecoderShape } from '@kvlr/core';
import { createMatrix, type Matrix, multiply, multiplyTransposed } from '@kvlr/linalg';
import { ropeFrequencies, rotate } from '@kvlr/rope';

/** What attention is computed from; the uncompressed layer is the stock layout of all its heads. */
export type AttentionLayer = Pick<CompressedLayer, 'weights' | 'layout' | 'latentKeys' | 'rebuiltKeys'>;

/** Normed inputs of a block: windows of `tokens` rows one under another, positions from 0 in each, [windows*T, hiddenSize]. */
export interface BlockInputs {
  rows: Matrix;
  tokens: number;
}

/**
 * The attended values of every query head, [windows*T, valueSlotWidth] each, in Float64 from the plain equations: causal
 * softmax attention with RoPE over any of the cache layouts.
 */
export function attendedValues(
  attention: AttentionLayer,
  { headDim, hiddenSize, rope }: Pick<DecoderShape, 'headDim' | 'hiddenSize' | 'rope'>,
  inputs: BlockInputs,
): Matrix[] {
  const { weights, layout } = attention;
  const { valueSlots, valueSlotWidth } = layout;
  const numAttentionHeads = weights.query.length / (headDim * hiddenSize);
  const turn = rotation(ropeFrequencies(rope, headDim), headDim, inputs.tokens);
  const queries = perHead(inputs.rows, weights.query, weights.queryBias, headDim).map(turn);
  const keys = keysBySlot(attention, headDim, inputs.rows, turn);
  const values = perHead(inputs.rows, weights.value, weights.valueBias, valueSlotWidth);
  const readers = attention.latentKeys && splitRows(attention.latentKeys.queryEncoder, layout.keySlotWidth, headDim);
  return queries.map((query, head) => {
    const slotOf = (slots: number) => Math.floor((head * slots) / numAttentionHeads);
    const reader = readers ? multiplyTransposed(query, readers[head]!) : query;
    return attend(reader, keys[slotOf(keys.length)]!, values[slotOf(valueSlots)]!, inputs.tokens, headDim ** -0.5);
  });
}

/** What some heads add to the stream: their attended values through the output projection, [windows*T, hiddenSize]. */
export function projectHeads(attended: readonly Matrix[], { output, outputBias }: AttentionWeights): Matrix {
  const whole = sideBySide(attended);
  const projected = multiplyTransposed(whole, createMatrix(output.length / whole.cols, whole.cols, output));
  addToRows(projected, outputBias);
  return projected;
}

/** The rotated keys that query heads are scored against, slot by slot: [windows*T, D], or the width of a latent. */
function keysBySlot(
  { weights, layout, latentKeys, rebuiltKeys }: AttentionLayer,
  headDim: number,
  rows: Matrix,
  turn: (keys: Matrix) => Matrix,
): Matrix[] {
  const { keySlots, keySlotWidth } = layout;
  if (rebuiltKeys) {
    const latents = perHead(rows, weights.key, weights.keyBias, keySlotWidth);
    const decoders = splitRows(rebuiltKeys.decoder, headDim, keySlotWidth);
    return decoders.map((decoder, head) =>
      turn(multiplyTransposed(latents[Math.floor((head * keySlots) / decoders.length)]!, decoder)),
    );
  }
  const keys = perHead(rows, weights.key, weights.keyBias, headDim).map(turn);
  if (!latentKeys) return keys;
  const all = sideBySide(keys);
  return splitRows(latentKeys.encoder, keySlotWidth, all.cols).map((encoder) => multiplyTransposed(all, encoder));
}

/** softmax(query keys^T * scale) values for each window, each token seeing itself and what came before. */
function attend(query: Matrix, keys: Matrix, values: Matrix, tokens: number, scale: number): Matrix {
  const attended = createMatrix(query.rows, values.cols);
  for (let start = 0; start < query.rows; start += tokens) {
    const scores = multiplyTransposed(rowsOf(query, start, tokens), rowsOf(keys, start, tokens));
    softmaxCausal(scores.data, tokens, scale);
    attended.data.set(multiply(scores, rowsOf(values, start, tokens)).data, start * values.cols);
  }
  return attended;
}

/** Turns scores [T, T] into weights: later tokens get 0, and each row sums to 1. */
function softmaxCausal(scores: Float64Array, tokens: number, scale: number): void {
  for (let row = 0; row < tokens; row++) {
    const start = row * tokens;
    const end = start + row + 1;
    let highest = Number.NEGATIVE_INFINITY;
    for (let index = start; index < end; index++) highest = Math.max(highest, scores[index]!);
    let total = 0;
    for (let index = start; index < end; index++) {
      scores[index] = Math.exp(scale * (scores[index]! - highest));
      total += scores[index]!;
    }
    for (let index = start; index < end; index++) scores[index]! /= total;
    scores.fill(0, end, start + tokens);
  }
}

/** The projection of every head for itself, [windows*T, width] each. */
function perHead(rows: Matrix, weight: Float64Array, bias: Float64Array | undefined, width: number): Matrix[] {
  return splitRows(weight, width, rows.cols).map((part, head) => {
    const projected = multiplyTransposed(rows, part);
    addToRows(projected, bias?.subarray(head * width, (head + 1) * width));
    return projected;
  });
}

/** RoPE for one head's vectors over windows whose positions start at 0. */
function rotation(frequencies: Float64Array, headDim: number, tokens: number): (vectors: Matrix) => Matrix {
  return (vectors) => {
    const turned = createMatrix(vectors.rows, headDim);
    for (let start = 0; start < vectors.rows; start += tokens) {
      const { data } = rowsOf(vectors, start, tokens);
      turned.data.set(rotate(data, { tokens, heads: 1, headDim, frequencies }), start * headDim);
    }
    return turned;
  };
}

/** Views of consecutive blocks [height, cols]. */
function splitRows(data: Float64Array, height: number, cols: number): Matrix[] {
  const size = height * cols;
  return Array.from({ length: data.length / size }, (_, index) =>
    createMatrix(height, cols, data.subarray(index * size, (index + 1) * size)),
  );
}

function rowsOf({ data, cols }: Matrix, start: number, count: number): Matrix {
  return createMatrix(count, cols, data.subarray(start * cols, (start + count) * cols));
}

function sideBySide(parts: readonly Matrix[]): Matrix {
  const { rows, cols } = parts[0]!;
  const whole = createMatrix(rows, parts.length * cols);
  parts.forEach(({ data }, place) => {
    for (let row = 0; row < rows; row++) {
      whole.data.set(data.subarray(row * cols, (row + 1) * cols), (row * parts.length + place) * cols);
    }
  });
  return whole;
}

function addToRows({ rows, cols, data }: Matrix, bias: Float64Array | undefined): void {
  if (bias === undefined) return;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < cols; column++) data[row * cols + column]! += bias[column]!;
  }
}
