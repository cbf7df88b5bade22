import { type DecoderShape, KvlrError, layerRope, type RopeParameters } from '@kvlr/core';
import { frequenciesGoByLength, ropeFrequencies, ropeTables } from '@kvlr/rope';
import type { OnnxFloatDtype } from './format.ts';
import { type GraphBuilder, plainTensor } from './graph.ts';

/** How queries and keys of a layer are rotated. */
export interface Rotation {
  /** Tables of cosines and sines, [positions, rotaryDim / 2]. */
  cosCache: string;
  sinCache: string;
  rotaryDim: number;
  interleaved: boolean;
  /** Whether GroupQueryAttention does it itself: for widths that are multiples of 16. */
  inAttention: boolean;
}

/** What attention wants to know of the mask: tokens of each sequence less one, and the length of the longest. */
export function sequenceLengths(graph: GraphBuilder, mask: string): { lastPositions: string; totalLength: string } {
  const path = '/model/attention_mask';
  const toInt32 = { attributes: { to: { integer: 6 } } };
  const axes = graph.integers('/model/constants/axes', [1]);
  const one = graph.integers('/model/constants/one', [1]);
  const second = graph.integers('/model/constants/second', 1);
  const keepdims = { integer: 0 };
  const tokens = graph.node(`${path}/ReduceSum`, 'ReduceSum', [mask, axes], { attributes: { keepdims } });
  const last = graph.node(`${path}/Sub`, 'Sub', [tokens, one]);
  const dimensions = graph.node(`${path}/Shape`, 'Shape', [mask]);
  const length = graph.node(`${path}/Gather`, 'Gather', [dimensions, second], { attributes: { axis: { integer: 0 } } });
  return {
    lastPositions: graph.node(`${path}/last/Cast`, 'Cast', [last], toInt32),
    totalLength: graph.node(`${path}/length/Cast`, 'Cast', [length], toInt32),
  };
}

/** The position of each new token: how many tokens of its sequence stand before it. */
export function tokenPositions(graph: GraphBuilder, ids: string, mask: string): string {
  const path = '/model/positions';
  const exclusive = { integer: 1 };
  const before = graph.node(`${path}/CumSum`, 'CumSum', [mask, '/model/constants/second'], {
    attributes: { exclusive },
  });
  const dimensions = graph.node(`${path}/Shape`, 'Shape', [ids]);
  const length = graph.node(`${path}/Gather`, 'Gather', [dimensions, '/model/constants/axes']);
  const start = graph.node(`${path}/Neg`, 'Neg', [length]);
  const end = graph.integers('/model/constants/end', [Number.MAX_SAFE_INTEGER]);
  return graph.node(`${path}/Slice`, 'Slice', [before, start, end, '/model/constants/axes']);
}

/**
 * Tokens that the graph has tables for: the model's context, or the part of it in which the frequencies do not go by the length of the text
 * (longrope).
 */
export function onnxContext({ layers, maxPositionEmbeddings }: DecoderShape): number {
  const limits = layers.map(({ positions }) => {
    if (positions.kind !== 'rope' || !goesByLength(positions.rope)) return maxPositionEmbeddings;
    return positions.rope.originalMaxPositionEmbeddings;
  });
  return Math.min(maxPositionEmbeddings, ...limits);
}

function goesByLength(rope: RopeParameters): rope is RopeParameters & { type: 'dynamic' | 'longrope' } {
  return (rope.type === 'dynamic' || rope.type === 'longrope') && frequenciesGoByLength(rope);
}

/** The rotation of each layer that rotates; layers that do alike share their tables. */
export function layerRotations(
  shape: DecoderShape,
  graph: GraphBuilder,
  dtype: OnnxFloatDtype,
): (Rotation | undefined)[] {
  const positions = onnxContext(shape);
  const known = new Map<string, Rotation>();
  return shape.layers.map((_, layer) => {
    const own = layerRope(shape, layer);
    if (own === undefined) return undefined;
    const key = JSON.stringify(own);
    const found = known.get(key);
    if (found !== undefined) return found;
    const { rope, rotaryDim, pairs } = own;
    const tables = () => ropeTables(ropeFrequencies(rope, rotaryDim), positions);
    const suffix = known.size === 0 ? '' : `_${known.size}`;
    const size = [positions, rotaryDim / 2];
    const rotation = {
      cosCache: graph.tensor(plainTensor(`cos_cache${suffix}`, dtype, size, async () => tables().cos)),
      sinCache: graph.tensor(plainTensor(`sin_cache${suffix}`, dtype, size, async () => tables().sin)),
      rotaryDim,
      interleaved: pairs === 'interleaved',
      inAttention: shape.headDim % 16 === 0 && rotaryDim % 16 === 0,
    };
    known.set(key, rotation);
    return rotation;
  });
}

/** Throws 'unsupported-feature' for positions that GroupQueryAttention does not know. */
export function requireRotations({ layers, embedding }: DecoderShape): void {
  const alibi = layers.some(({ positions }) => positions.kind === 'alibi');
  const dynamic = layers.some(({ positions }) => positions.kind === 'rope' && positions.rope.type === 'dynamic');
  const beyond =
    (alibi && 'ALiBi') ||
    (dynamic && 'RoPE of type dynamic') ||
    (embedding.learnedPositions !== undefined && 'learned positions');
  if (!beyond) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected rotary positions with frequencies of their own, or none, got ${beyond}`,
    hint: 'This model runs in kvlr, and in llama.cpp through GGUF where that has its family.',
    data: { received: beyond },
  });
}
