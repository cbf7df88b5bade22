import { type AttentionWeights, alibiPenalty, type CompressedLayer, stockLayout } from '@kvlr/core';
import { createMatrix, hstack, type Matrix, multiply, multiplyTransposed, rows, splitRows, vstack } from '@kvlr/linalg';
import { ropeFrequencies, rotate } from '@kvlr/rope';
import type { SourceLayer } from '../source-layer.ts';
import { clipProjection, normHeads } from './projected-heads.ts';

/** What attention is computed from. */
export interface AttentionLayer extends Pick<CompressedLayer, 'weights' | 'slots' | 'keys'> {
  /** Source query head at each place, where they stand in another order: ALiBi's slopes are those of the source. */
  queryOrder?: readonly number[];
}

/** Which layer of which model: its shape says what stands between projections and scores. */
type LayerPlace = Pick<SourceLayer, 'shape' | 'layer'>;

/** Normed inputs of a block: windows of `tokens` rows one under another, positions from 0 in each, [windows*T, hiddenSize]. */
export interface BlockInputs {
  rows: Matrix;
  tokens: number;
}

/** The uncompressed layer: stock keys of all its heads. */
export function stockAttention({ shape, weights }: SourceLayer): AttentionLayer {
  return { weights, slots: stockLayout(shape.numKeyValueHeads, shape.headDim), keys: { kind: 'stock' } };
}

/** What meets in the scores and what they weigh, [windows*T, width] each. */
export interface HeadVectors {
  /** Of every query head, as the keys are read. */
  queries: Matrix[];
  /** Of every slot, or of every head where keys are rebuilt. */
  keys: Matrix[];
  /** Of every slot. */
  values: Matrix[];
}

/** Queries, keys and values behind norms and positions, in Float64 from the plain equations, over keys and slots of any kind. */
export function headVectors(attention: AttentionLayer, source: LayerPlace, inputs: BlockInputs): HeadVectors {
  const { weights, slots, keys } = attention;
  const { shape } = source;
  const rotateWindows = rotationOf(source, inputs.tokens);
  const projectSide = (side: 'query' | 'value', width: number) =>
    projectHeadsOf(inputs.rows, weights[side], weights[`${side}Bias`], width);
  const rotated = normHeads(projectSide('query', shape.headDim), weights, 'query', shape).map(rotateWindows);
  const readers = keys.kind === 'latent' ? matrices(keys.queryEncoder, slots.keySlotWidth, shape.headDim) : undefined;
  return {
    queries: readers ? rotated.map((query, head) => multiplyTransposed(query, readers[head]!)) : rotated,
    keys: keysBySlot(attention, source, inputs.rows, rotateWindows),
    values: clipProjection(projectSide('value', slots.valueSlotWidth), shape),
  };
}

/**
 * The attended values of every query head, [windows*T, valueSlotWidth] each: causal softmax attention, with whatever positions,
 * windows and caps the layer has.
 */
export function attendedValues(attention: AttentionLayer, source: LayerPlace, inputs: BlockInputs): Matrix[] {
  const { queries, keys, values } = headVectors(attention, source, inputs);
  return queries.map((query, head) => {
    const slotOf = (count: number) => Math.floor((head * count) / queries.length);
    const [key, value] = [keys[slotOf(keys.length)]!, values[slotOf(values.length)]!];
    return attendHead(query, key, value, scoringOf(source, attention.queryOrder?.[head] ?? head, inputs.tokens));
  });
}

/** What some heads add to the stream: their attended values through the output projection, [windows*T, hiddenSize]. */
export function projectHeads(attended: readonly Matrix[], { output, outputBias }: AttentionWeights): Matrix {
  const whole = hstack(...attended);
  const projected = multiplyTransposed(whole, createMatrix(output.length / whole.cols, whole.cols, output));
  addToRows(projected, outputBias);
  return projected;
}

/** The keys behind positions that query heads are scored against, slot by slot: [windows*T, D], or the width of a latent. */
function keysBySlot(
  { weights, slots, keys }: AttentionLayer,
  { shape }: LayerPlace,
  inputs: Matrix,
  rotateWindows: (vectors: Matrix) => Matrix,
): Matrix[] {
  const { headDim } = shape;
  const { keySlots, keySlotWidth } = slots;
  if (keys.kind === 'rebuilt') {
    const latents = clipProjection(projectHeadsOf(inputs, weights.key, weights.keyBias, keySlotWidth), shape);
    const decoders = matrices(keys.decoder, headDim, keySlotWidth);
    return decoders.map((decoder, head) =>
      rotateWindows(multiplyTransposed(latents[Math.floor((head * keySlots) / decoders.length)]!, decoder)),
    );
  }
  const projected = projectHeadsOf(inputs, weights.key, weights.keyBias, headDim);
  const rotated = normHeads(projected, weights, 'key', shape).map(rotateWindows);
  if (keys.kind === 'stock') return rotated;
  const all = hstack(...rotated);
  return matrices(keys.encoder, keySlotWidth, all.cols).map((encoder) => multiplyTransposed(all, encoder));
}

/** Rotates a head's vectors by their positions in each window; gives them back as they are in a layer without RoPE. */
function rotationOf({ shape, layer }: LayerPlace, tokens: number): (vectors: Matrix) => Matrix {
  const { headDim } = shape;
  const { positions } = shape.layers[layer]!;
  if (positions.kind !== 'rope') return (vectors) => vectors;
  const { rope, rotaryDim, pairs } = positions;
  const frequencies = ropeFrequencies(rope, rotaryDim, { sequenceLength: tokens });
  return (vectors) => {
    const windows = splitRows(vectors, tokens).map(({ data }) =>
      createMatrix(tokens, headDim, rotate(data, { tokens, heads: 1, headDim, pairs, ...frequencies })),
    );
    return vstack(...windows);
  };
}

/** What makes weights of the products of queries and keys. */
interface Scoring {
  tokens: number;
  scale: number;
  softCap: number | undefined;
  window: number;
  /** Added to the score of a key for a query, at these positions. */
  penalty: ((key: number, query: number) => number) | undefined;
}

/** How the scores of one of the source's query heads become weights. */
export function scoringOf({ shape, layer }: LayerPlace, queryHead: number, tokens: number): Scoring {
  const { scoreScale: scale, softCap } = shape.attention;
  const { positions, window = tokens } = shape.layers[layer]!;
  const penalty = positions.kind === 'alibi' ? alibiPenalty(positions.slopes[queryHead]!, positions) : undefined;
  return { tokens, scale, softCap, window, penalty };
}

/** Softmax attention of one head for each window, each token seeing itself and what came before in the window of the layer. */
export function attendHead(query: Matrix, keys: Matrix, values: Matrix, scoring: Scoring): Matrix {
  const { tokens } = scoring;
  const windows: Matrix[] = [];
  for (let start = 0; start < query.rows; start += tokens) {
    const scores = multiplyTransposed(rows(query, start, tokens), rows(keys, start, tokens));
    softmaxCausal(scores.data, scoring);
    windows.push(multiply(scores, rows(values, start, tokens)));
  }
  return vstack(...windows);
}

/** Turns products [T, T] into weights: later tokens and those before the window get 0, and each row sums to 1. */
function softmaxCausal(scores: Float64Array, { tokens, softCap, penalty, window, ...scoring }: Scoring): void {
  const isScaled = softCap !== undefined || penalty !== undefined;
  const scale = isScaled ? 1 : scoring.scale;
  for (let row = 0; row < tokens; row++) {
    const begin = row * tokens;
    const start = begin + Math.max(0, row + 1 - window);
    const end = begin + row + 1;
    for (let index = start; isScaled && index < end; index++) {
      const score = scoring.scale * scores[index]!;
      const capped = softCap === undefined ? score : softCap * Math.tanh(score / softCap);
      scores[index] = capped + (penalty?.(index - begin, row) ?? 0);
    }
    let highest = Number.NEGATIVE_INFINITY;
    for (let index = start; index < end; index++) highest = Math.max(highest, scores[index]!);
    let total = 0;
    for (let index = start; index < end; index++) {
      scores[index] = Math.exp(scale * (scores[index]! - highest));
      total += scores[index]!;
    }
    for (let index = start; index < end; index++) scores[index]! /= total;
    scores.fill(0, begin, start);
    scores.fill(0, end, begin + tokens);
  }
}

/** The projection of every head for itself, [windows*T, width] each. */
function projectHeadsOf(inputs: Matrix, weight: Float64Array, bias: Float64Array | undefined, width: number): Matrix[] {
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
