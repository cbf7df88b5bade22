import type { DecoderShape, NormShape } from './decoder-shape.ts';
import { countElements } from './tensors.ts';

/** Which part of the decoder reads a tensor. Those of 'attention' and 'feedForward' are there once a layer. */
export type DecoderPart = 'embedding' | 'attention' | 'feedForward' | 'head';

/** The part that each tensor plays in a decoder, whatever its name in the file, and the part of the decoder that reads it. */
const parts = {
  embedding: 'embedding',
  embeddingProjection: 'embedding',
  positionEmbedding: 'embedding',
  embeddingNorm: 'embedding',
  embeddingNormBias: 'embedding',
  attentionNorm: 'attention',
  attentionNormBias: 'attention',
  queryWeight: 'attention',
  keyWeight: 'attention',
  valueWeight: 'attention',
  outputWeight: 'attention',
  queryBias: 'attention',
  keyBias: 'attention',
  valueBias: 'attention',
  outputBias: 'attention',
  queryNorm: 'attention',
  queryNormBias: 'attention',
  keyNorm: 'attention',
  keyNormBias: 'attention',
  latentKeyEncoder: 'attention',
  latentQueryEncoder: 'attention',
  rebuiltKeyDecoder: 'attention',
  attentionOutputNorm: 'attention',
  attentionOutputNormBias: 'attention',
  feedForwardNorm: 'feedForward',
  feedForwardNormBias: 'feedForward',
  gateWeight: 'feedForward',
  upWeight: 'feedForward',
  downWeight: 'feedForward',
  gateBias: 'feedForward',
  upBias: 'feedForward',
  downBias: 'feedForward',
  feedForwardOutputNorm: 'feedForward',
  feedForwardOutputNormBias: 'feedForward',
  finalNorm: 'head',
  finalNormBias: 'head',
  headProjection: 'head',
  languageModelHead: 'head',
  languageModelHeadBias: 'head',
} as const satisfies Record<string, DecoderPart>;

export type TensorRole = keyof typeof parts;

export const tensorRoles = Object.keys(parts) as readonly TensorRole[];

/** The part of the decoder that reads tensors of this role. */
export function partOfRole(role: TensorRole): DecoderPart {
  return parts[role];
}

/** Whether there is one tensor of this role in each layer, or one in the whole model. */
export function isLayerRole(role: TensorRole): boolean {
  return parts[role] === 'attention' || parts[role] === 'feedForward';
}

/** Whether tensors of this role exist in kvlr's own layouts only, under names that kvlr gives. */
export function isNativeRole(
  role: TensorRole,
): role is 'latentKeyEncoder' | 'latentQueryEncoder' | 'rebuiltKeyDecoder' {
  return role === 'latentKeyEncoder' || role === 'latentQueryEncoder' || role === 'rebuiltKeyDecoder';
}

/**
 * Whether compression may replace tensors of this role: the projections of attention, the norms of queries and keys, and what
 * kvlr's layouts add to them.
 */
export function isCompressedRole(role: TensorRole): boolean {
  return isNativeRole(role) || /^((query|key|value|output)(Weight|Bias)|(query|key)Norm(Bias)?)$/.test(role);
}

/** A tensor that a decoder of some shape has. */
export interface DecoderTensor {
  role: TensorRole;
  part: DecoderPart;
  /** Present for roles of a layer. */
  layer?: number;
  /** Matrices are [out, in], vectors [n]. */
  shape: number[];
}

/**
 * Every tensor of a decoder of this shape: the one list that reading, checking, uploading, fusing, writing, exporting, training
 * and estimating are filters of. First the embedding's, then layer by layer, then the head's.
 */
export function decoderTensors(shape: DecoderShape): DecoderTensor[] {
  const layers = Array.from({ length: shape.numLayers }, (_, layer) => layerTensors(shape, layer));
  return [...embeddingTensors(shape), ...layers.flat(), ...headTensors(shape)];
}

/** How many numbers the tensors of a decoder of this shape hold. */
export function countShapeParameters(shape: DecoderShape): number {
  return decoderTensors(shape).reduce((sum, tensor) => sum + countElements(tensor.shape), 0);
}

/** The tensors of one layer. */
export function layerTensors(shape: DecoderShape, layer: number): DecoderTensor[] {
  return [...attentionTensors(shape, layer), ...feedForwardTensors(shape)].map(([role, dimensions]) => {
    return { role, part: parts[role], layer, shape: dimensions };
  });
}

/** The tensors that are there once. */
export function globalTensors(shape: DecoderShape): DecoderTensor[] {
  return [...embeddingTensors(shape), ...headTensors(shape)];
}

type Entry = [role: TensorRole, shape: number[]];

function embeddingTensors({ embedding, vocabSize, hiddenSize }: DecoderShape): DecoderTensor[] {
  const { width, norm, learnedPositions } = embedding;
  const entries: Entry[] = [['embedding', [vocabSize, width]]];
  if (width !== hiddenSize) entries.push(['embeddingProjection', [hiddenSize, width]]);
  if (learnedPositions) entries.push(['positionEmbedding', [learnedPositions.count, hiddenSize]]);
  entries.push(...normTensors('embeddingNorm', norm, hiddenSize));
  return entries.map(([role, shape]) => ({ role, part: 'embedding', shape }));
}

function headTensors({ head, embedding, vocabSize, hiddenSize }: DecoderShape): DecoderTensor[] {
  const entries = normTensors('finalNorm', head.norm, hiddenSize);
  if (embedding.width !== hiddenSize) entries.push(['headProjection', [embedding.width, hiddenSize]]);
  if (!head.tied) entries.push(['languageModelHead', [vocabSize, embedding.width]]);
  if (head.bias) entries.push(['languageModelHeadBias', [vocabSize]]);
  return entries.map(([role, shape]) => ({ role, part: 'head', shape }));
}

function attentionTensors(shape: DecoderShape, layer: number): Entry[] {
  const { hiddenSize, numAttentionHeads, numKeyValueHeads, headDim, attention, blocks } = shape;
  const { cache } = shape.layers[layer]!;
  const queryWidth = numAttentionHeads * headDim;
  // Latent keys encode the keys of all source heads, so the projection keeps them.
  const sourceKeyWidth = numKeyValueHeads * headDim;
  const keyWidth = cache.keys === 'latent' ? sourceKeyWidth : cache.keySlots * cache.keySlotWidth;
  const valueWidth = cache.valueSlots * cache.valueSlotWidth;
  const entries: Entry[] = [];
  if (blocks.before !== 'none') entries.push(...normTensors('attentionNorm', blocks.norm, hiddenSize));
  entries.push(
    ['queryWeight', [queryWidth, hiddenSize]],
    ['keyWeight', [keyWidth, hiddenSize]],
    ['valueWeight', [valueWidth, hiddenSize]],
    ['outputWeight', [hiddenSize, numAttentionHeads * cache.valueSlotWidth]],
  );
  if (attention.inputBias) {
    entries.push(['queryBias', [queryWidth]], ['keyBias', [keyWidth]], ['valueBias', [valueWidth]]);
  }
  if (attention.outputBias) entries.push(['outputBias', [hiddenSize]]);
  const { queryKeyNorm } = attention;
  if (queryKeyNorm) {
    const widths = { head: [headDim, headDim], heads: [queryWidth, keyWidth], projection: [queryWidth, keyWidth] };
    const [queryNormWidth, keyNormWidth] = widths[queryKeyNorm.over];
    entries.push(...normTensors('queryNorm', queryKeyNorm, queryNormWidth!));
    entries.push(...normTensors('keyNorm', queryKeyNorm, keyNormWidth!));
  }
  if (cache.keys === 'latent') {
    entries.push(
      ['latentKeyEncoder', [cache.keySlots * cache.keySlotWidth, keyWidth]],
      ['latentQueryEncoder', [numAttentionHeads, cache.keySlotWidth, headDim]],
    );
  }
  if (cache.keys === 'rebuilt') {
    entries.push(['rebuiltKeyDecoder', [cache.keySlots, sourceKeyWidth / cache.keySlots, cache.keySlotWidth]]);
  }
  if (blocks.after !== 'none') entries.push(...normTensors('attentionOutputNorm', blocks.norm, hiddenSize));
  return entries;
}

function feedForwardTensors({ hiddenSize, feedForward, blocks }: DecoderShape): Entry[] {
  const { intermediateSize, gated, bias } = feedForward;
  const entries: Entry[] = [];
  if (blocks.before === 'each') entries.push(...normTensors('feedForwardNorm', blocks.norm, hiddenSize));
  if (gated) entries.push(['gateWeight', [intermediateSize, hiddenSize]]);
  entries.push(['upWeight', [intermediateSize, hiddenSize]], ['downWeight', [hiddenSize, intermediateSize]]);
  if (bias) {
    if (gated) entries.push(['gateBias', [intermediateSize]]);
    entries.push(['upBias', [intermediateSize]], ['downBias', [hiddenSize]]);
  }
  if (blocks.after !== 'none') entries.push(...normTensors('feedForwardOutputNorm', blocks.norm, hiddenSize));
  return entries;
}

type NormRole =
  | 'embeddingNorm'
  | 'attentionNorm'
  | 'queryNorm'
  | 'keyNorm'
  | 'attentionOutputNorm'
  | 'feedForwardNorm'
  | 'feedForwardOutputNorm'
  | 'finalNorm';

function normTensors(role: NormRole, norm: NormShape | undefined, width: number): Entry[] {
  const entries: Entry[] = [];
  if (norm?.weight) entries.push([role, [width]]);
  if (norm?.bias) entries.push([`${role}Bias`, [width]]);
  return entries;
}
