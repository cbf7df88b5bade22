import { type AttentionWeights, type CompressedLayer, stockLayout } from '@kvlr/core';
import { createMatrix, hstack, type Matrix, multiply, multiplyTransposed, rows, splitRows, vstack } from '@kvlr/linalg';
import { ropeFrequencies, rotate } from '@kvlr/rope';
import { requireRope, type SourceLayer } from '../source-layer.ts';

/** What attention is computed from. */
export type AttentionLayer = Pick<CompressedLayer, 'weights' | 'slots' | 'keys'>;

/** Normed inputs of a block: windows of `tokens` rows one under another, positions from 0 in each, [windows*T, hiddenSize]. */
export interface BlockInputs {
  rows: Matrix;
  tokens: number;
}

/** The uncompressed layer: stock keys of all its heads. */
export function stockAttention({ shape, weights }: SourceLayer): AttentionLayer {
  return { weights, slots: stockLayout(shape.numKeyValueHeads, shape.headDim), keys: { kind: 'stock' } };
}

/**
 * The attended values of every query head, [windows*T, valueSlotWidth] each, in Float64 from the plain equations: causal
 * softmax attention with RoPE over keys and slots of any kind.
 */
export function attendedValues(
  attention: AttentionLayer,
  source: Pick<SourceLayer, 'shape' | 'layer'>,
  inputs: BlockInputs,
): Matrix[] {
  const { weights, slots, keys } = attention;
  const { headDim, hiddenSize } = source.shape;
  const numAttentionHeads = weights.query.length / (headDim * hiddenSize);
  const rope = ropeFrequencies(requireRope(source), headDim);
  const rotateWindows = (vectors: Matrix) => {
    const windows = splitRows(vectors, inputs.tokens).map(({ data }) =>
      createMatrix(inputs.tokens, headDim, rotate(data, { tokens: inputs.tokens, heads: 1, headDim, ...rope })),
    );
    return vstack(...windows);
  };
  const queries = perHead(inputs.rows, weights.query, weights.queryBias, headDim).map(rotateWindows);
  const keysOfSlots = keysBySlot(attention, headDim, inputs.rows, rotateWindows);
  const values = perHead(inputs.rows, weights.value, weights.valueBias, slots.valueSlotWidth);
  const readers = keys.kind === 'latent' ? matrices(keys.queryEncoder, slots.keySlotWidth, headDim) : undefined;
  return queries.map((query, head) => {
    const slotOf = (count: number) => Math.floor((head * count) / numAttentionHeads);
    const reader = readers ? multiplyTransposed(query, readers[head]!) : query;
    const [key, value] = [keysOfSlots[slotOf(keysOfSlots.length)]!, values[slotOf(slots.valueSlots)]!];
    return attend(reader, key, value, inputs.tokens, source.shape.attention.scoreScale);
  });
}

/** What some heads add to the stream: their attended values through the output projection, [windows*T, hiddenSize]. */
export function projectHeads(attended: readonly Matrix[], { output, outputBias }: AttentionWeights): Matrix {
  const whole = hstack(...attended);
  const projected = multiplyTransposed(whole, createMatrix(output.length / whole.cols, whole.cols, output));
  addToRows(projected, outputBias);
  return projected;
}

/** The rotated keys that query heads are scored against, slot by slot: [windows*T, D], or the width of a latent. */
function keysBySlot(
  { weights, slots, keys }: AttentionLayer,
  headDim: number,
  inputs: Matrix,
  rotateWindows: (vectors: Matrix) => Matrix,
): Matrix[] {
  const { keySlots, keySlotWidth } = slots;
  if (keys.kind === 'rebuilt') {
    const latents = perHead(inputs, weights.key, weights.keyBias, keySlotWidth);
    const decoders = matrices(keys.decoder, headDim, keySlotWidth);
    return decoders.map((decoder, head) =>
      rotateWindows(multiplyTransposed(latents[Math.floor((head * keySlots) / decoders.length)]!, decoder)),
    );
  }
  const rotated = perHead(inputs, weights.key, weights.keyBias, headDim).map(rotateWindows);
  if (keys.kind === 'stock') return rotated;
  const all = hstack(...rotated);
  return matrices(keys.encoder, keySlotWidth, all.cols).map((encoder) => multiplyTransposed(all, encoder));
}

/** softmax(query keys^T * scale) values for each window, each token seeing itself and what came before. */
function attend(query: Matrix, keys: Matrix, values: Matrix, tokens: number, scale: number): Matrix {
  const windows: Matrix[] = [];
  for (let start = 0; start < query.rows; start += tokens) {
    const scores = multiplyTransposed(rows(query, start, tokens), rows(keys, start, tokens));
    softmaxCausal(scores.data, tokens, scale);
    windows.push(multiply(scores, rows(values, start, tokens)));
  }
  return vstack(...windows);
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
function perHead(inputs: Matrix, weight: Float64Array, bias: Float64Array | undefined, width: number): Matrix[] {
  return matrices(weight, width, inputs.cols).map((part, head) => {
    const projected = multiplyTransposed(inputs, part);
    addToRows(projected, bias?.subarray(head * width, (head + 1) * width));
    return projected;
  });
}

/** The matrices [height, cols] that lie one after another in some numbers. */
function matrices(data: Float64Array, height: number, cols: number): Matrix[] {
  return splitRows(createMatrix(data.length / cols, cols, data), height);
}

function addToRows({ rows: count, cols, data }: Matrix, bias: Float64Array | undefined): void {
  if (bias === undefined) return;
  for (let row = 0; row < count; row++) {
    for (let column = 0; column < cols; column++) data[row * cols + column]! += bias[column]!;
  }
}
