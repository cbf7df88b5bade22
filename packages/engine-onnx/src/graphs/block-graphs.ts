import { type DecoderShape, layerTensors, type TensorRole } from '@kvlr/core';
import { attentionBlock } from './attention.ts';
import { type DecoderGraph, finish, openLayer, streamAfterAttention, streamInput, tokens } from './decoder-graphs.ts';
import { gradientNodes } from './gradients.ts';
import type { DecoderOperations } from './operations.ts';

/** Input of a block's graphs: the stream that it is to reach, [tokens, hiddenSize]. */
export const targetInput = 'target';
/** Input of a block's graphs: what a squared error of each token counts, [tokens, 1]; of moments its root. */
export const tokenWeightInput = 'tokenWeights';
/** Name under which the moments of attended values with what the stream lacks are asked for. */
export const lackTap = 'outputWeight';
/** Name under which the errors of tokens are asked for beside gradients or moments. */
export const errorTap = 'blockOutput';

/** From the stream before an attention block to the weighted squared error of the stream behind it, [tokens, 1]. */
export function blockErrorGraph(shape: DecoderShape, layer: number, trained: ReadonlySet<TensorRole>): DecoderGraph {
  const { graph, operations, weights, difference } = openBlock(shape, layer, trained);
  return finish(graph, weights, weightedError(operations, difference).error);
}

/**
 * The same with the gradients of the summed error to what is trained, matrices [in, out].
 *
 * @throws KvlrError 'unsupported-feature' for an operator without a gradient.
 */
export function blockGradientGraph(shape: DecoderShape, layer: number, trained: ReadonlySet<TensorRole>): DecoderGraph {
  const { graph, operations, weights, reached, difference } = openBlock(shape, layer, trained);
  const { weighted, error } = weightedError(operations, difference);
  const upstream = operations.scaled(weighted, 2);
  const wanted = [...trained];
  const found = gradientNodes(operations, [...graph.finish().nodes], { value: reached, upstream, wanted });
  const taps = Object.fromEntries(wanted.map((role) => [role, found.get(role)!]));
  return finish(graph, weights, error, taps);
}

/**
 * What an output projection is solved from: with o as the attended values of a token, times the residual factor, r as what the stream
 * behind the block lacks, and both times the root of the token's weight, the sums of o o^T and of o r^T over tokens, and |r|^2 of each.
 */
export function blockMomentGraph(shape: DecoderShape, layer: number, trained: ReadonlySet<TensorRole>): DecoderGraph {
  const { graph, operations, weights, attended, difference } = openBlock(shape, layer, trained);
  const times = (x: string) => operations.node('Mul', [x, tokenWeightInput]);
  const values = operations.scaled(times(attended), shape.blocks.residualScale);
  const lack = operations.node('Neg', [times(difference)]);
  const transposed = { transA: { integer: 1 } };
  const gram = operations.node('Gemm', [values, values], transposed);
  const withLack = operations.node('Gemm', [values, lack], transposed);
  const energy = operations.reduce('ReduceSum', operations.node('Mul', [lack, lack]), -1);
  return finish(graph, weights, gram, { [lackTap]: withLack, [errorTap]: energy });
}

function openBlock(shape: DecoderShape, layer: number, trained: ReadonlySet<TensorRole>) {
  const weights = layerTensors(shape, layer).filter(({ part }) => part === 'attention');
  const { graph, operations } = openLayer(shape, layer, weights, trained);
  graph.input({ name: targetInput, dtype: 'F32', shape: [tokens, shape.hiddenSize] });
  graph.input({ name: tokenWeightInput, dtype: 'F32', shape: [tokens, 1] });
  const { attended, blockOutput } = attentionBlock(operations, streamInput, shape, layer);
  const reached = streamAfterAttention(operations, blockOutput, shape);
  const difference = operations.node('Sub', [reached, targetInput]);
  return { graph, operations, weights, attended, reached, difference };
}

/** The difference times the weight of its token, and that times the difference, summed over each token. */
function weightedError(operations: DecoderOperations, difference: string): { weighted: string; error: string } {
  const weighted = operations.node('Mul', [difference, tokenWeightInput]);
  return { weighted, error: operations.reduce('ReduceSum', operations.node('Mul', [weighted, difference]), -1) };
}
