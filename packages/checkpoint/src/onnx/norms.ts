import { type DecoderShape, type NormShape, normOfRole } from '@kvlr/core';
import type { OnnxFloatDtype } from './format.ts';
import { type GraphBuilder, plainTensor } from './graph.ts';
import type { Rotation } from './positions.ts';
import type { GraphWeights } from './weights.ts';

/** What all layers share: the model's numbers, its constants, and what is known of the sequences. */
export interface LayerInputs {
  shape: DecoderShape;
  /** Type of activations and cache. */
  dtype: OnnxFloatDtype;
  keyValueHeads: number;
  weights: GraphWeights;
  lastPositions: string;
  totalLength: string;
  rotations: (Rotation | undefined)[];
  /** Position of each token, where queries and keys are rotated before attention instead of in it. */
  positions: string | undefined;
  /** Scales of norms that have none, by width. */
  ones(width: number): string;
  /** Shapes that cut [batch, tokens, heads * headDim] into heads, and that join them; where heads are normed. */
  splitHeads: string | undefined;
  joinHeads: string | undefined;
}

/** The residual stream as the sum of two values, which the next norm adds. */
export interface Stream {
  kept: string;
  added?: string;
}

type StreamNorm = 'attentionNorm' | 'feedForwardNorm' | 'finalNorm';

/** What a block reads of the stream: its norm, or the stream itself where the decoder has no norm there; and the stream as one value. */
export function readStream(
  graph: GraphBuilder,
  path: string,
  { kept, added }: Stream,
  role: StreamNorm,
  inputs: LayerInputs,
  layer?: number,
): { input: string; sum: string } {
  const { shape, weights, ones } = inputs;
  const isThere = role === 'finalNorm' || shape.blocks.before !== 'none';
  const norm = isThere ? normOfRole(shape, role) : undefined;
  if (added === undefined) {
    return { input: norm ? normalise(graph, path, kept, norm, role, inputs, layer) : kept, sum: kept };
  }
  if (norm === undefined || (norm.kind === 'rms' && norm.bias)) {
    const sum = graph.node(`${path}/Add`, 'Add', [kept, added]);
    return { input: norm ? normalise(graph, path, sum, norm, role, inputs, layer) : sum, sum };
  }
  const operator = norm.kind === 'rms' ? 'SkipSimplifiedLayerNormalization' : 'SkipLayerNormalization';
  const scale = norm.weight ? weights.vector(role, layer) : ones(shape.hiddenSize);
  const bias = norm.bias ? [weights.vector(`${role}Bias`, layer)] : [];
  const outputs = [`${path}/output`, '', '', `${path}/sum`];
  const attributes = { epsilon: { float: norm.epsilon } };
  const input = graph.node(path, operator, [kept, added, scale, ...bias], {
    domain: 'com.microsoft',
    ...{ attributes, outputs },
  });
  return { input, sum: outputs[3]! };
}

type NormRole = StreamNorm | 'attentionOutputNorm' | 'feedForwardOutputNorm' | 'queryNorm' | 'keyNorm';

/** A norm over the last axis, of so many numbers. */
export function normalise(
  graph: GraphBuilder,
  path: string,
  input: string,
  norm: NormShape,
  role: NormRole,
  { weights, ones, shape }: LayerInputs,
  layer?: number,
  width = shape.hiddenSize,
): string {
  const scale = norm.weight ? weights.vector(role, layer) : ones(width);
  const attributes = { epsilon: { float: norm.epsilon }, axis: { integer: -1 }, stash_type: { integer: 1 } };
  const bias = norm.bias ? [weights.vector(`${role}Bias`, layer)] : [];
  if (norm.kind === 'layer') return graph.node(path, 'LayerNormalization', [input, scale, ...bias], { attributes });
  const normed = graph.node(path, 'SimplifiedLayerNormalization', [input, scale], { attributes });
  return norm.bias ? graph.node(`${path}/Add`, 'Add', [normed, ...bias]) : normed;
}

/** The norm of queries or keys, where there is one: over the whole projection, or of each head. */
export function normHeads(
  graph: GraphBuilder,
  path: string,
  rows: string,
  role: 'queryNorm' | 'keyNorm',
  layer: number,
  inputs: LayerInputs,
): string {
  const { shape, weights } = inputs;
  const { queryKeyNorm: norm } = shape.attention;
  if (norm === undefined) return rows;
  const width = shape.headDim * (role === 'queryNorm' ? shape.numAttentionHeads : inputs.keyValueHeads);
  if (norm.over === 'projection') return normalise(graph, path, rows, norm, role, inputs, layer, width);
  const heads = graph.node(`${path}/split`, 'Reshape', [rows, inputs.splitHeads!]);
  if (norm.over === 'head') {
    const normed = normalise(graph, path, heads, norm, role, inputs, layer, shape.headDim);
    return graph.node(`${path}/join`, 'Reshape', [normed, inputs.joinHeads!]);
  }
  // A scale for each number of the projection, behind the norm of each head.
  const bare = { ...norm, weight: false, bias: false };
  const normed = normalise(graph, path, heads, bare, role, inputs, layer, shape.headDim);
  const wide = graph.node(`${path}/join`, 'Reshape', [normed, inputs.joinHeads!]);
  const scaled = norm.weight ? graph.node(`${path}/Mul`, 'Mul', [wide, weights.vector(role, layer)]) : wide;
  return norm.bias ? graph.node(`${path}/Add`, 'Add', [scaled, weights.vector(`${role}Bias`, layer)]) : scaled;
}

/** Names of constants of ones, each added when it is first asked for. */
export function constantOnes(graph: GraphBuilder, dtype: OnnxFloatDtype): LayerInputs['ones'] {
  const added = new Set<string>();
  return (width) => {
    const name = `/model/constants/ones_${width}`;
    if (!added.has(name)) graph.tensor(plainTensor(name, dtype, [width], async () => new Float32Array(width).fill(1)));
    added.add(name);
    return name;
  };
}
