import type { DecoderShape } from '@kvlr/core';
import { errorTap, targetInput, tokenWeightInput } from './block-graphs.ts';
import { type DecoderGraph, finish, openHead, streamInput, tokens } from './decoder-graphs.ts';
import { gradientNodes } from './gradients.ts';

/**
 * From the stream behind the last layer, another model's logits [tokens, vocabSize] and the weights of tokens to the gradient of the
 * weighted divergence KL(other || this) to the stream; asked for as `errorTap`, the weighted divergence of each token, [tokens, 1]. With
 * the distributions q of the other and p of this one, the gradient to a token's logits is p - q times its weight.
 *
 * @throws KvlrError 'unsupported-feature' for a head without a gradient.
 */
export function readoutGradientGraph(shape: DecoderShape): DecoderGraph {
  const { graph, operations, weights, logits } = openHead(shape);
  graph.input({ name: targetInput, dtype: 'F32', shape: [tokens, 'rows'] });
  graph.input({ name: tokenWeightInput, dtype: 'F32', shape: [tokens, 1] });
  const nodes = [...graph.finish().nodes];
  const logSoftmax = (x: string) => operations.node('LogSoftmax', [x], { axis: { integer: -1 } });
  const weigh = (x: string) => operations.node('Mul', [x, tokenWeightInput]);
  const [logs, targetLogs] = [logSoftmax(logits), logSoftmax(targetInput)];
  const [own, other] = [operations.node('Exp', [logs]), operations.node('Exp', [targetLogs])];
  const terms = operations.node('Mul', [other, operations.node('Sub', [targetLogs, logs])]);
  const divergence = weigh(operations.reduce('ReduceSum', terms, -1));
  const upstream = weigh(operations.node('Sub', [own, other]));
  const found = gradientNodes(operations, nodes, { value: logits, upstream, wanted: [streamInput] });
  return finish(graph, weights, found.get(streamInput)!, { [errorTap]: divergence });
}
