import type { DecoderShape, LayerCacheLayout } from '@kvlr/core';
import {
  add,
  clipByValue,
  matMul,
  mul,
  reshape,
  softmax,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
  type Tensor4D,
  transpose,
} from '@tensorflow/tfjs-core';
import { causalAttention } from './causal-attention.ts';
import { norm, normByRole, type Project, projectWith, scaled, softCapped } from './operations.ts';
import { type Rotation, rotate, type SequenceContext } from './sequence-context.ts';
import type { LayerTensors } from './weights.ts';

/** Every stage of the block, one row per token, [batch * tokens, ...]. */
export interface AttentionStages {
  blockInput: Tensor2D;
  /** q, k and v of all heads as positions find them: with their biases, clipped and normed where the decoder does so. */
  query: Tensor2D;
  key: Tensor2D;
  value: Tensor2D;
  attended: Tensor2D;
  /** What the block gives, to be added to the stream: behind its output norm and times the residual factor, where there are any. */
  blockOutput: Tensor2D;
}

/** The heads of new tokens on their way to attention. */
export type HeadRows = Pick<AttentionStages, 'query' | 'key' | 'value'>;

interface BlockSettings {
  shape: DecoderShape;
  layer: number;
  /** Stands in for the projections of the weights, which are then not looked at. */
  project?: Project | undefined;
}

/** Rows are whole windows of tokens, or stand behind something else that `attend` knows of. */
export type AttentionBlockSettings = BlockSettings &
  ({ context: SequenceContext } | { attend: (rows: HeadRows) => Tensor2D });

/**
 * One attention block of any decoder over any cache layout, of `stream` [batch * tokens, hiddenSize]; over whole windows
 * differentiable in the stream and in every weight. Call inside tf.tidy.
 */
export function attentionBlock(
  stream: Tensor2D,
  weights: LayerTensors,
  settings: AttentionBlockSettings,
): AttentionStages {
  const { shape, project = projectWith(weights) } = settings;
  const { blockInput, ...rows } = headRows(stream, weights, shape, project);
  const attended = 'attend' in settings ? settings.attend(rows) : attendWindows(rows, weights, settings);
  return { blockInput, ...rows, attended, blockOutput: attentionOutput(attended, weights, shape, project) };
}

/** The block up to positions: its norm, the projections, and what stands between them and the scores. */
export function headRows(
  stream: Tensor2D,
  weights: LayerTensors,
  shape: DecoderShape,
  project: Project,
): HeadRows & Pick<AttentionStages, 'blockInput'> {
  const { blocks, attention } = shape;
  const { clip, queryKeyNorm } = attention;
  const blockInput = blocks.before === 'none' ? stream : normByRole(stream, shape, weights, 'attentionNorm');
  const clipped = (x: Tensor2D): Tensor2D => (clip === undefined ? x : clipByValue(x, -clip, clip));
  const normed = (x: Tensor2D, scale?: Tensor, bias?: Tensor): Tensor2D => {
    if (queryKeyNorm === undefined) return x;
    if (queryKeyNorm.over === 'projection') return norm(x, queryKeyNorm, scale, bias);
    const heads = x.shape[1] / shape.headDim;
    const byHead = (part?: Tensor) =>
      part && queryKeyNorm.over === 'heads' ? reshape(part, [heads, shape.headDim]) : part;
    const split = reshape(x, [x.shape[0], heads, shape.headDim]);
    return reshape(norm(split, queryKeyNorm, byHead(scale), byHead(bias)), x.shape);
  };
  return {
    blockInput,
    query: normed(clipped(project(blockInput, 'query')), weights.queryNorm, weights.queryNormBias),
    key: normed(clipped(project(blockInput, 'key')), weights.keyNorm, weights.keyNormBias),
    value: clipped(project(blockInput, 'value')),
  };
}

/** The block behind the scores: what it adds to the stream, of attended values [rows, numAttentionHeads * valueSlotWidth]. */
export function attentionOutput(
  attended: Tensor2D,
  weights: LayerTensors,
  shape: DecoderShape,
  project: Project,
): Tensor2D {
  const output = project(attended, 'output');
  const { after, residualScale } = shape.blocks;
  return scaled(after === 'branch' ? normByRole(output, shape, weights, 'attentionOutputNorm') : output, residualScale);
}

/**
 * Attended values of whole windows, [batch * tokens, numAttentionHeads * valueSlotWidth]. Query head h of H reads key slot
 * floor(h * keySlots / H): the heads of a slot are contiguous, so their queries are rows of one product with the slot.
 * Stock keys are rotated. Latent keys are rotated for all heads of the source, then encoded into the slots; queries are rotated,
 * then encoded per head (Yu et al. 2024, arXiv 2406.07056). Rebuilt keys are latents from before RoPE, of which the keys of all
 * heads are made and rotated (Palu, arXiv 2407.21118).
 */
function attendWindows(
  rows: HeadRows,
  weights: LayerTensors,
  settings: BlockSettings & { context: SequenceContext },
): Tensor2D {
  const { shape, layer, context } = settings;
  const { batch } = context;
  const { rotation, mask, penalties } = context.layers[layer]!;
  const { cache } = shape.layers[layer]!;
  const queries = queryHeads(rows.query, weights, shape, batch, rotation);
  const cached = keysOfCache(rows.key, weights, { shape, cache, batch, rotation });
  const slots = slotsOfRows(cached, batch, cache.keySlots);
  const keys = cache.keys === 'rebuilt' ? rebuildKeys(slots, weights, shape, rotation) : slots;
  const inputs = { queries, keys, values: slotsOfRows(rows.value, batch, cache.valueSlots), mask, penalties };
  const stock = cache.keys === 'stock' && cache.keySlots === cache.valueSlots;
  const plain = shape.attention.softCap !== undefined || penalties !== undefined;
  return stock && !plain ? attendCausally(inputs, shape) : attend(inputs, shape);
}

interface AttentionInputs {
  /** [batch, numAttentionHeads, tokens, width] */
  queries: Tensor4D;
  /** [batch, keySlots, positions, width] */
  keys: Tensor4D;
  /** [batch, valueSlots, positions, valueSlotWidth] */
  values: Tensor4D;
  /** Added to scores [batch, numAttentionHeads, tokens, positions]; of size 1 along an axis for all. */
  mask: Tensor4D;
  penalties?: Tensor4D | undefined;
}

/** Softmax attention of grouped heads, [batch * tokens, numAttentionHeads * valueSlotWidth]. */
function attend({ queries, keys, values, ...added }: AttentionInputs, shape: DecoderShape): Tensor2D {
  return weigh(scoresOf(queries, keys, shape), values, added);
}

/** Scores of grouped heads before masks, [batch, numAttentionHeads, tokens, positions]. */
export function scoresOf(queries: Tensor4D, keys: Tensor4D, shape: DecoderShape): Tensor4D {
  return softCapped(productsOf(queries, keys, shape), shape.attention.softCap);
}

/** Scaled products of the queries of grouped heads with the keys of their slots, [batch, numAttentionHeads, tokens, positions]. */
export function productsOf(queries: Tensor4D, keys: Tensor4D, { attention }: DecoderShape): Tensor4D {
  const { scoreScale } = attention;
  const [batch, heads, tokens] = queries.shape;
  const [, keyHeads, positions, keyWidth] = keys.shape;
  const bySlot: Tensor4D = reshape(mul(queries, scoreScale), [batch, keyHeads, (heads / keyHeads) * tokens, keyWidth]);
  return reshape(matMul(bySlot, keys, false, true), [batch, heads, tokens, positions]);
}

/** The values that scores weigh, [batch * tokens, numAttentionHeads * valueSlotWidth]. */
export function weigh(
  scores: Tensor4D,
  values: Tensor4D,
  added: Pick<AttentionInputs, 'mask' | 'penalties'>,
): Tensor2D {
  return weightedValues(attentionOf(scores, added), values);
}

/** What scores become by masks and softmax, of the same shape. */
export function attentionOf(
  scores: Tensor4D,
  { mask, penalties }: Pick<AttentionInputs, 'mask' | 'penalties'>,
): Tensor4D {
  return softmax(add(penalties === undefined ? scores : add(scores, penalties), mask));
}

/** Sums of the values of grouped heads, each weighed by its attention, [batch * tokens, numAttentionHeads * valueSlotWidth]. */
export function weightedValues(attention: Tensor4D, values: Tensor4D): Tensor2D {
  const [batch, heads, tokens, positions] = attention.shape;
  const [, valueHeads, , valueWidth] = values.shape;
  const weighted = matMul(reshape(attention, [batch, valueHeads, (heads / valueHeads) * tokens, positions]), values);
  return rowsOfHeads(reshape(weighted, [batch, heads, tokens, valueWidth]));
}

/** `attend` of whole windows whose slots hold a key and a value each: skips the scores of later keys, in training too. */
function attendCausally({ queries, keys, values, mask }: AttentionInputs, shape: DecoderShape): Tensor2D {
  const [batch, heads, tokens, width] = queries.shape;
  const [, slots, , valueWidth] = values.shape;
  const attended = causalAttention(
    reshape(mul(queries, shape.attention.scoreScale), [batch * slots, heads / slots, tokens, width]),
    reshape(keys, [batch * slots, tokens, width]),
    reshape(values, [batch * slots, tokens, valueWidth]),
    reshape(mask, [tokens, tokens]),
  );
  return rowsOfHeads(reshape(attended, [batch, heads, tokens, valueWidth]));
}

/** [batch, heads, tokens, width] as rows of all heads side by side. */
function rowsOfHeads(byHead: Tensor4D): Tensor2D {
  const [batch, heads, tokens, width] = byHead.shape;
  return reshape(transpose(byHead, [0, 2, 1, 3]), [batch * tokens, heads * width]);
}

/** Rows [batch * tokens, heads * width] as [batch, tokens, heads, width]. */
function splitHeads(rows: Tensor2D, batch: number, heads: number): Tensor4D {
  const [count, width] = rows.shape;
  return reshape(rows, [batch, count / batch, heads, width / heads]);
}

/** Rows as [batch, slots, tokens, width]. */
export function slotsOfRows(rows: Tensor2D, batch: number, slots: number): Tensor4D {
  return transpose<Tensor4D>(splitHeads(rows, batch, slots), [0, 2, 1, 3]);
}

/** Rows of keys as the cache keeps them, [batch * tokens, keySlots * keySlotWidth]. */
export function keysOfCache(
  key: Tensor2D,
  weights: LayerTensors,
  settings: { shape: DecoderShape; cache: LayerCacheLayout; batch: number; rotation: Rotation | undefined },
): Tensor2D {
  const { shape, cache, batch, rotation } = settings;
  if (cache.keys === 'rebuilt') return key;
  const rotated: Tensor2D = reshape(rotate(splitHeads(key, batch, key.shape[1] / shape.headDim), rotation), key.shape);
  return cache.keys === 'stock' ? rotated : matMul<Tensor2D>(rotated, weights.latentKeyEncoder as Tensor2D);
}

/** Rotated (and under latent keys encoded) queries, [batch, heads, tokens, width]. */
export function queryHeads(
  query: Tensor2D,
  weights: LayerTensors,
  { numAttentionHeads: heads, headDim }: DecoderShape,
  batch: number,
  rotation: Rotation | undefined,
): Tensor4D {
  const rotated = rotate(splitHeads(query, batch, heads), rotation);
  const encoder = weights.latentQueryEncoder as Tensor3D | undefined;
  if (encoder === undefined) return transpose(rotated, [0, 2, 1, 3]);
  const byHead: Tensor3D = reshape(transpose(rotated, [2, 0, 1, 3]), [heads, query.shape[0], headDim]);
  const encoded = matMul(byHead, encoder);
  return transpose(reshape(encoded, [heads, batch, query.shape[0] / batch, encoder.shape[2]]), [1, 0, 2, 3]);
}

/** Rotated keys of all heads, [batch, heads, positions, headDim], from latents [batch, keySlots, positions, keySlotWidth]. */
export function rebuildKeys(
  latents: Tensor4D,
  weights: LayerTensors,
  { headDim }: DecoderShape,
  rotation: Rotation | undefined,
): Tensor4D {
  const decoder = weights.rebuiltKeyDecoder as Tensor3D;
  const [batch, slots, positions, width] = latents.shape;
  const heads = decoder.shape[2] / headDim;
  const bySlot: Tensor3D = reshape(transpose(latents, [1, 0, 2, 3]), [slots, batch * positions, width]);
  const rebuilt: Tensor4D = reshape(matMul(bySlot, decoder), [slots, batch, positions, heads * headDim]);
  const byPosition: Tensor4D = reshape(transpose(rebuilt, [1, 2, 0, 3]), [batch, positions, slots * heads, headDim]);
  return transpose(rotate(byPosition, rotation), [0, 2, 1, 3]);
}
