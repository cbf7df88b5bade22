import { GraphBuilder, type OnnxGraph } from '@kvlr/checkpoint/onnx';
import {
  type DecoderShape,
  type DecoderTensor,
  globalTensors,
  layerTensors,
  type TapName,
  type TensorRole,
} from '@kvlr/core';
import { type AttentionValues, attentionBlock, positionInputs } from './attention.ts';
import { gradientNodes } from './gradients.ts';
import { DecoderOperations } from './operations.ts';

/**
 * A part of a decoder over one window of tokens. Weights are inputs of the graph, as they lie in the file ([out, in]) and called by their
 * roles: one graph serves all layers of its kind, and no weight is copied or transposed.
 */
export interface DecoderGraph {
  graph: OnnxGraph;
  /** The weights that it takes. */
  weights: DecoderTensor[];
  /** Name of the result, [tokens, numbers]. */
  result: string;
  /** Names of what can be asked for besides: what a layer computes, or the gradients to its weights, by their roles. */
  taps: Partial<Record<TapName | TensorRole, string>>;
}

/** Input of all graphs: rows of the embedding, or the residual stream, one a token. */
export const streamInput = 'stream';
/** Input of the embedding's graph where positions are learned: their rows, [tokens, hiddenSize]. */
export const learnedInput = 'learned';
/** Input of a layer's gradients: that to the stream behind the layer, [tokens, hiddenSize]. */
export const upstreamInput = 'upstream';
/** Name of the dimension that is as long as the window. */
export const tokens = 'tokens';

/** From rows of the embedding table [tokens, width] to the stream before the first layer. */
export function embeddingGraph(shape: DecoderShape): DecoderGraph {
  const { hiddenSize } = shape;
  const { width, scale, learnedPositions } = shape.embedding;
  const weights = globalTensors(shape).filter(({ part, role }) => part === 'embedding' && !isTable(role));
  const { graph, operations } = openGraph(shape, weights, width);
  const projected = width === hiddenSize ? streamInput : operations.affine(streamInput, 'embeddingProjection');
  let stream = operations.scaled(projected, scale);
  if (learnedPositions) {
    graph.input({ name: learnedInput, dtype: 'F32', shape: [tokens, hiddenSize] });
    stream = operations.node('Add', [stream, learnedInput]);
  }
  const result = operations.node('Identity', [operations.normByRole(stream, 'embeddingNorm')]);
  return finish(graph, weights, result);
}

/**
 * From the stream before a layer [tokens, hiddenSize] to the stream after it.
 *
 * @param trained Matrices that are given as training holds them, [in, out].
 */
export function layerGraph(shape: DecoderShape, layer: number, trained?: ReadonlySet<TensorRole>): DecoderGraph {
  const weights = layerTensors(shape, layer);
  const { graph, operations } = openLayer(shape, layer, weights, trained);
  const { result, values } = layerValues(operations, shape, layer);
  return finish(graph, weights, result, { stream: streamInput, ...values });
}

/**
 * From the gradient to the stream after a layer to that to the stream before it, and to the trained matrices, [in, out] as they are given.
 * The layer is computed again.
 *
 * @throws KvlrError 'unsupported-feature' for an operator without a gradient.
 */
export function layerGradientGraph(shape: DecoderShape, layer: number, trained: ReadonlySet<TensorRole>): DecoderGraph {
  const weights = layerTensors(shape, layer);
  const { graph, operations } = openLayer(shape, layer, weights, trained);
  graph.input({ name: upstreamInput, dtype: 'F32', shape: [tokens, shape.hiddenSize] });
  const { result: value } = layerValues(operations, shape, layer);
  const wanted = [streamInput, ...trained];
  const found = gradientNodes(operations, [...graph.finish().nodes], { value, upstream: upstreamInput, wanted });
  const taps = Object.fromEntries([...trained].map((role) => [role, found.get(role)!]));
  return finish(graph, weights, found.get(streamInput)!, taps);
}

function layerValues(
  operations: DecoderOperations,
  shape: DecoderShape,
  layer: number,
): { result: string; values: AttentionValues } {
  const { blocks } = shape;
  const values = attentionBlock(operations, streamInput, shape, layer);
  const between = streamAfterAttention(operations, values.blockOutput, shape);
  const block = feedForwardBlock(operations, blocks.parallel ? streamInput : between, shape);
  const sum = operations.node('Add', [residualOf(operations, between, 'feedForwardNorm', shape), block]);
  return { result: blocks.after === 'stream' ? operations.normByRole(sum, 'feedForwardOutputNorm') : sum, values };
}

/** The stream behind a layer's attention, from what the block gives. */
export function streamAfterAttention(operations: DecoderOperations, blockOutput: string, shape: DecoderShape): string {
  const added = operations.node('Add', [residualOf(operations, streamInput, 'attentionNorm', shape), blockOutput]);
  return shape.blocks.after === 'stream' ? operations.normByRole(added, 'attentionOutputNorm') : added;
}

/** What a block's output is added to. */
function residualOf(
  operations: DecoderOperations,
  stream: string,
  role: 'attentionNorm' | 'feedForwardNorm',
  { blocks }: DecoderShape,
): string {
  return blocks.residual === 'normed' ? operations.normByRole(stream, role) : stream;
}

/** Layers of equal kinds share a graph. */
export function layerKind(shape: DecoderShape, layer: number): string {
  const { cache, positions } = shape.layers[layer]!;
  const { kind } = positions;
  return JSON.stringify([cache, kind === 'rope' ? [kind, positions.rotaryDim, positions.pairs] : kind]);
}

/**
 * From the stream behind the last layer [tokens, hiddenSize] to logits [tokens, rows], of as many rows of the table as it is given: of all
 * of the vocabulary, or of a piece.
 */
export function headGraph(shape: DecoderShape): DecoderGraph {
  const { graph, weights, logits } = openHead(shape);
  return finish(graph, weights, logits);
}

/** A graph that computes logits. */
export function openHead(shape: DecoderShape) {
  const { head, embedding, hiddenSize } = shape;
  const table = tableOfHead(shape);
  const weights = globalTensors(shape).filter(({ part, role }) => part === 'head' || role === table);
  const { graph, operations } = openGraph(shape, weights, hiddenSize);
  const normed = operations.normByRole(streamInput, 'finalNorm');
  const projected = embedding.width === hiddenSize ? normed : operations.affine(normed, 'headProjection');
  const products = operations.affine(projected, table, operations.weight('languageModelHeadBias'));
  const logits = operations.softCapped(operations.scaled(products, head.scale), head.softCap);
  return { graph, operations, weights, logits };
}

/** The table that the stream is multiplied with. */
export function tableOfHead({ head }: DecoderShape): TensorRole {
  return head.tied ? 'embedding' : 'languageModelHead';
}

/** Whether rows of the tensor are looked up by token or position. */
function isTable(role: TensorRole): boolean {
  return role === 'embedding' || role === 'positionEmbedding';
}

/** Feed-forward block of the stream, gated (Shazeer 2020) or not: what is added to the stream. */
function feedForwardBlock(operations: DecoderOperations, stream: string, shape: DecoderShape): string {
  const { blocks, feedForward } = shape;
  const norm = blocks.before === 'shared' ? 'attentionNorm' : 'feedForwardNorm';
  const input = blocks.before === 'none' ? stream : operations.normByRole(stream, norm);
  const activated = operations.activate(
    operations.project(input, feedForward.gated ? 'gate' : 'up'),
    feedForward.activation,
  );
  const inner = feedForward.gated ? operations.node('Mul', [activated, operations.project(input, 'up')]) : activated;
  const output = operations.project(inner, 'down');
  const normed = blocks.after === 'branch' ? operations.normByRole(output, 'feedForwardOutputNorm') : output;
  return operations.scaled(normed, blocks.residualScale);
}

/** A graph with a stream, weights and positions of a layer as its inputs. */
export function openLayer(
  shape: DecoderShape,
  layer: number,
  weights: readonly DecoderTensor[],
  trained?: ReadonlySet<TensorRole>,
) {
  const opened = openGraph(shape, weights, shape.hiddenSize, trained);
  for (const input of positionInputs(shape, layer)) opened.graph.input({ dtype: 'F32', ...input });
  return opened;
}

function openGraph(
  shape: DecoderShape,
  weights: readonly DecoderTensor[],
  width: number,
  turned: ReadonlySet<TensorRole> = new Set(),
) {
  const graph = new GraphBuilder();
  graph.input({ name: streamInput, dtype: 'F32', shape: [tokens, width] });
  for (const { role, shape: sizes } of weights) {
    const [count, ...rest] = turned.has(role) ? [...sizes].reverse() : sizes;
    graph.input({ name: role, dtype: 'F32', shape: count === shape.vocabSize ? ['rows', ...rest] : [count!, ...rest] });
  }
  const roles = new Set(weights.map(({ role }) => role));
  return { graph, operations: new DecoderOperations(graph, shape, roles, turned) };
}

/** Declares what can be asked of a graph. */
export function finish(
  graph: GraphBuilder,
  weights: DecoderTensor[],
  result: string,
  taps: DecoderGraph['taps'] = {},
): DecoderGraph {
  const outputs = new Set([result, ...Object.values(taps)]);
  // What goes in needs not to come out.
  outputs.delete(streamInput);
  for (const name of outputs) graph.output({ name, dtype: 'F32', shape: [tokens, `numbers of ${name}`] });
  return { graph: graph.finish(), weights, result, taps };
}
