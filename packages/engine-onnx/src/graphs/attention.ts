import type { DecoderShape } from '@kvlr/core';
import type { DecoderOperations } from './operations.ts';

/** Values of the attention block that a layer's graph can show, one row for each token. */
export interface AttentionValues {
  blockInput: string;
  query: string;
  key: string;
  value: string;
  attended: string;
  blockOutput: string;
}

/** Inputs of a layer's graph beside its stream and weights: what attention knows of positions. */
export const positionNames = {
  /** Added to scores: zero where a token may look, else a large negative number, [tokens, tokens]. */
  mask: 'mask',
  /** Cosines and sines of position times frequency, [tokens, rotaryDim / 2]. */
  cosine: 'cosine',
  sine: 'sine',
  /** ALiBi (Press et al. 2022): added to the scores of each key, [numAttentionHeads, 1, tokens]. */
  penalties: 'penalties',
} as const;

/** Those that a layer has, with their shapes. */
export function positionInputs(
  { layers, numAttentionHeads }: DecoderShape,
  layer: number,
): { name: string; shape: (number | string)[] }[] {
  const { positions } = layers[layer]!;
  const mask = { name: positionNames.mask, shape: ['tokens', 'tokens'] };
  switch (positions.kind) {
    case 'rope': {
      const shape = ['tokens', positions.rotaryDim / 2];
      return [mask, { name: positionNames.cosine, shape }, { name: positionNames.sine, shape }];
    }
    case 'alibi':
      return [mask, { name: positionNames.penalties, shape: [numAttentionHeads, 1, 'tokens'] }];
    case 'none':
      return [mask];
  }
}

/**
 * The attention block of any decoder over any cache layout, of a stream [tokens, hiddenSize]. Query head h of H reads key slot
 * floor(h * keySlots / H): the heads of a slot are contiguous, so their queries are rows of one product with the slot. Stock keys are
 * rotated. Latent keys are rotated for all heads of the source, then encoded into the slots; queries are rotated, then encoded per
 * head (Yu et al. 2024, arXiv 2406.07056). Rebuilt keys are latents from before RoPE, of which the keys of all heads are made and
 * rotated (Palu, arXiv 2407.21118).
 */
export function attentionBlock(
  operations: DecoderOperations,
  stream: string,
  shape: DecoderShape,
  layer: number,
): AttentionValues {
  const { attention, blocks, numAttentionHeads: heads } = shape;
  const { cache } = shape.layers[layer]!;
  const blockInput = blocks.before === 'none' ? stream : operations.normByRole(stream, 'attentionNorm');
  const project = (part: 'query' | 'key' | 'value') =>
    operations.clipped(operations.project(blockInput, part), attention.clip);
  const keyHeads = cache.keys === 'latent' ? shape.numKeyValueHeads : cache.keySlots;
  const query = normHeads(operations, project('query'), 'query', heads, shape);
  const key = normHeads(operations, project('key'), 'key', keyHeads, shape);
  const value = project('value');
  const scores = attentionScores(operations, { query, key }, shape, layer);
  const attended = weighValues(operations, scores, value, shape, layer);
  const output = operations.project(attended, 'output');
  const normed = blocks.after === 'branch' ? operations.normByRole(output, 'attentionOutputNorm') : output;
  return { blockInput, query, key, value, attended, blockOutput: operations.scaled(normed, blocks.residualScale) };
}

/** The norm of queries or keys between projection and positions, where there is one. */
function normHeads(
  operations: DecoderOperations,
  rows: string,
  part: 'query' | 'key',
  heads: number,
  { headDim, attention: { queryKeyNorm } }: DecoderShape,
): string {
  if (queryKeyNorm === undefined) return rows;
  const [scale, bias] = [operations.weight(`${part}Norm`), operations.weight(`${part}NormBias`)];
  const width = heads * headDim;
  if (queryKeyNorm.over === 'projection') return operations.norm(rows, queryKeyNorm, width, scale, bias);
  const split = operations.reshape(rows, [-1, heads, headDim]);
  if (queryKeyNorm.over === 'head') {
    return operations.reshape(operations.norm(split, queryKeyNorm, headDim, scale, bias), [-1, width]);
  }
  const normed = operations.reshape(operations.norm(split, queryKeyNorm, headDim), [-1, width]);
  const times = scale === undefined ? normed : operations.node('Mul', [normed, scale]);
  return bias === undefined ? times : operations.node('Add', [times, bias]);
}

/** Attention of every query head to every position, [heads, tokens, tokens]: softmax of scaled, capped and masked scores. */
function attentionScores(
  operations: DecoderOperations,
  { query, key }: Pick<AttentionValues, 'query' | 'key'>,
  shape: DecoderShape,
  layer: number,
): string {
  const { numAttentionHeads: heads, headDim, attention } = shape;
  const { cache, positions } = shape.layers[layer]!;
  const rotated = operations.reshape(rotate(operations, query, heads, shape, layer), [-1, heads, headDim]);
  let queries = operations.scaled(operations.transpose(rotated, [1, 0, 2]), attention.scoreScale);
  if (cache.keys === 'latent') {
    const encoder = operations.transpose('latentQueryEncoder', [0, 2, 1]);
    queries = operations.node('MatMul', [queries, encoder]);
  }
  const { keys, slots, width } = keysOfScores(operations, key, shape, layer);
  const bySlot = operations.reshape(queries, [slots, -1, width]);
  const products = operations.node('MatMul', [bySlot, keys]);
  const tokens = operations.node('Shape', [positionNames.mask], { start: { integer: 0 }, end: { integer: 1 } });
  const sizes = operations.node('Concat', [operations.integers([heads, -1]), tokens], { axis: { integer: 0 } });
  let scores = operations.softCapped(operations.node('Reshape', [products, sizes]), attention.softCap);
  if (positions.kind === 'alibi') scores = operations.node('Add', [scores, positionNames.penalties]);
  const masked = operations.node('Add', [scores, positionNames.mask]);
  return operations.node('Softmax', [masked], { axis: { integer: -1 } });
}

/** What queries are multiplied with, [slots, width, tokens]. */
function keysOfScores(
  operations: DecoderOperations,
  key: string,
  shape: DecoderShape,
  layer: number,
): { keys: string; slots: number; width: number } {
  const { numKeyValueHeads, headDim } = shape;
  const { keys, keySlots, keySlotWidth } = shape.layers[layer]!.cache;
  const columns = (rows: string, slots: number, width: number) => ({
    keys: operations.transpose(operations.reshape(rows, [-1, slots, width]), [1, 2, 0]),
    slots,
    width,
  });
  if (keys === 'stock') return columns(rotate(operations, key, keySlots, shape, layer), keySlots, keySlotWidth);
  if (keys === 'latent') {
    const rotated = rotate(operations, key, numKeyValueHeads, shape, layer);
    return columns(operations.affine(rotated, 'latentKeyEncoder'), keySlots, keySlotWidth);
  }
  const latents = operations.transpose(operations.reshape(key, [-1, keySlots, keySlotWidth]), [1, 0, 2]);
  const rebuilt = operations.node('MatMul', [latents, operations.transpose('rebuiltKeyDecoder', [0, 2, 1])]);
  const rows = operations.reshape(operations.transpose(rebuilt, [1, 0, 2]), [-1, numKeyValueHeads * headDim]);
  return columns(rotate(operations, rows, numKeyValueHeads, shape, layer), numKeyValueHeads, headDim);
}

/** Attended values of all heads side by side, [tokens, heads * valueSlotWidth]. */
function weighValues(
  operations: DecoderOperations,
  scores: string,
  value: string,
  { numAttentionHeads: heads, layers }: DecoderShape,
  layer: number,
): string {
  const { valueSlots, valueSlotWidth } = layers[layer]!.cache;
  const values = operations.transpose(operations.reshape(value, [-1, valueSlots, valueSlotWidth]), [1, 0, 2]);
  const tokens = operations.node('Shape', [positionNames.mask], { start: { integer: 0 }, end: { integer: 1 } });
  const sizes = operations.node('Concat', [operations.integers([valueSlots, -1]), tokens], { axis: { integer: 0 } });
  const weighted = operations.node('MatMul', [operations.node('Reshape', [scores, sizes]), values]);
  const byHead = operations.reshape(weighted, [heads, -1, valueSlotWidth]);
  return operations.reshape(operations.transpose(byHead, [1, 0, 2]), [-1, heads * valueSlotWidth]);
}

/** Rows of heads [tokens, heads * headDim], rotated by their positions where the layer has rotary ones (Su et al. 2021). */
function rotate(
  operations: DecoderOperations,
  rows: string,
  heads: number,
  { headDim, layers }: DecoderShape,
  layer: number,
): string {
  const { positions } = layers[layer]!;
  if (positions.kind !== 'rope') return rows;
  const { rotaryDim, pairs } = positions;
  const attributes = {
    interleaved: { integer: pairs === 'interleaved' ? 1 : 0 },
    ...(rotaryDim < headDim && { num_heads: { integer: heads }, rotary_embedding_dim: { integer: rotaryDim } }),
  };
  const batch = operations.reshape(rows, [1, -1, heads * headDim]);
  const first = operations.integers([0]);
  const inputs = [batch, first, positionNames.cosine, positionNames.sine];
  const rotated = operations.node('RotaryEmbedding', inputs, attributes, 'com.microsoft');
  return operations.reshape(rotated, [-1, heads * headDim]);
}
