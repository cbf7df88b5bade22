import { decoderTensors, KvlrError, layerRope, type ModelSource, type TensorRole } from '@kvlr/core';
import { frequenciesGoByLength, ropeFrequencies, ropeTables } from '@kvlr/rope';
import { beyondLlama } from '../config/llama-kind.ts';
import { beyondStock, uniformKeyValueHeads } from '../config/native.ts';
import { attentionBlock, feedForwardBlock, type LayerInputs } from './blocks.ts';
import type { OnnxFloatDtype, OnnxGraph } from './format.ts';
import { GraphBuilder, plainTensor, transposedTensor } from './graph.ts';

/**
 * A decoder as transformers.js and ONNX Runtime's own model builder lay it out: input_ids, attention_mask and
 * past_key_values.{layer}.key / .value in, logits and present.{layer}.key / .value out; caches are
 * [batch, KV heads, tokens, headDim]. Attention is ONNX Runtime's GroupQueryAttention, which rotates queries and keys itself
 * by the tables cos_cache and sin_cache; it does so for head widths that are multiples of 16, and for other multiples of 8
 * RotaryEmbedding stands before it. Sequences of a batch are padded behind, not before.
 *
 * Throws 'unsupported-feature' where a layer is not stock grouped-query attention with the head count of the others, and
 * for head widths that ONNX Runtime does not take.
 */
export function decoderGraph(model: ModelSource, dtype: OnnxFloatDtype): OnnxGraph {
  const { shape } = model;
  const keyValueHeads = requireUniformHeads(model);
  requireLlamaKind(model);
  requireHeadWidth(shape.headDim);
  const graph = new GraphBuilder();
  const ids = graph.input({ name: 'input_ids', dtype: 'I64', shape: ['batch_size', 'sequence_length'] });
  const mask = graph.input({ name: 'attention_mask', dtype: 'I64', shape: ['batch_size', 'total_sequence_length'] });
  const weights = weightTensors(model, graph, dtype);
  const layerInputs: LayerInputs = {
    shape,
    dtype,
    keyValueHeads,
    weights,
    ...sequenceLengths(graph, mask),
    ...ropeCaches(model, graph, dtype),
    ...(shape.headDim % 16 !== 0 && { positions: tokenPositions(graph, ids, mask) }),
  };
  let stream = { kept: embed(model, graph, weights, ids), added: '' };
  const logits = { name: 'logits', dtype: 'F32' as const, shape: ['batch_size', 'sequence_length', shape.vocabSize] };
  graph.output(logits);
  for (let layer = 0; layer < shape.numLayers; layer++) {
    stream = attentionBlock(graph, stream, layer, layerInputs);
    stream = feedForwardBlock(graph, stream, layer, layerInputs);
  }
  const last = graph.node(
    '/model/norm/SkipLayerNorm',
    'SkipSimplifiedLayerNormalization',
    [stream.kept, stream.added, weights('finalNorm')],
    { domain: 'com.microsoft', attributes: { epsilon: { float: shape.blocks.norm.epsilon } } },
  );
  const outputs = [logits.name];
  if (dtype === 'F32') graph.node('/lm_head/MatMul', 'MatMul', [last, weights('languageModelHead')], { outputs });
  else {
    const halves = graph.node('/lm_head/MatMul', 'MatMul', [last, weights('languageModelHead')]);
    graph.node('/lm_head/Cast', 'Cast', [halves], { attributes: { to: { integer: 1 } }, outputs });
  }
  return graph.finish();
}

/** Adds each weight when it is first asked for, in the order in which it is used. Matrices are stored transposed. */
function weightTensors(model: ModelSource, graph: GraphBuilder, dtype: OnnxFloatDtype): LayerInputs['weights'] {
  const key = (role: TensorRole, layer?: number) => `${role} ${layer}`;
  const shapes = new Map(decoderTensors(model.shape).map(({ role, layer, shape }) => [key(role, layer), shape]));
  const added = new Set<string>();
  return (role, layer) => {
    const name = model.tensorName(role, layer);
    if (added.has(name)) return name;
    added.add(name);
    // A tied head has no entry of its own.
    const shape = shapes.get(key(role, layer)) ?? shapes.get(key('embedding'))!;
    const read = () => model.tensors.readFloat32(name);
    if (shape.length === 1 || role === 'embedding') return graph.tensor(plainTensor(name, dtype, shape, read));
    return graph.tensor(transposedTensor(name, dtype, [shape[0]!, shape[1]!], read));
  };
}

/** The row of the embedding for each id. A tied embedding is stored once, transposed, and has them as columns of the head. */
function embed(model: ModelSource, graph: GraphBuilder, weights: LayerInputs['weights'], ids: string): string {
  const node = '/model/embed_tokens/Gather';
  if (!model.shape.head.tied) return graph.node(node, 'Gather', [weights('embedding'), ids]);
  const axis = { integer: 1 };
  const columns = graph.node(node, 'Gather', [weights('languageModelHead'), ids], { attributes: { axis } });
  const perm = { integers: [1, 2, 0] };
  return graph.node('/model/embed_tokens/Transpose', 'Transpose', [columns], { attributes: { perm } });
}

/** What attention wants to know of the mask: tokens of each sequence less one, and the length of the longest. */
function sequenceLengths(graph: GraphBuilder, mask: string): Pick<LayerInputs, 'lastPositions' | 'totalLength'> {
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
function tokenPositions(graph: GraphBuilder, ids: string, mask: string): string {
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

/** Cosines and sines of every position of the context, whatever the scaling of the frequencies. */
function ropeCaches(
  { shape }: ModelSource,
  graph: GraphBuilder,
  dtype: OnnxFloatDtype,
): Pick<LayerInputs, 'cosCache' | 'sinCache'> {
  const { rope, rotaryDim } = layerRope(shape, 0)!;
  const size = [shape.maxPositionEmbeddings, rotaryDim / 2];
  const tables = () => ropeTables(ropeFrequencies(rope, rotaryDim), shape.maxPositionEmbeddings);
  return {
    cosCache: graph.tensor(plainTensor('cos_cache', dtype, size, async () => tables().cos)),
    sinCache: graph.tensor(plainTensor('sin_cache', dtype, size, async () => tables().sin)),
  };
}

function requireUniformHeads({ shape }: ModelSource): number {
  const uniform = uniformKeyValueHeads(shape);
  if (uniform !== undefined) return uniform;
  const received =
    beyondStock(shape) ?? `head counts by layer ${shape.layers.map(({ cache }) => cache.keySlots).join(', ')}`;
  throw new KvlrError('unsupported-feature', {
    message: `expected stock grouped-query attention with one KV head count for all layers, got ${received}`,
    hint: 'Compress with a stock method and one head count for every layer to export it.',
    data: { received },
  });
}

function requireLlamaKind({ shape }: ModelSource): void {
  const rope = layerRope(shape, 0)?.rope;
  const beyond = beyondLlama(shape) ?? (rope && frequenciesGoByLength(rope) ? `RoPE of type ${rope.type}` : undefined);
  if (beyond === undefined) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected a decoder of LLaMA's kind, got ${beyond}`,
    hint: 'This model runs in kvlr; export it as a Hugging Face checkpoint instead.',
    data: { received: beyond },
  });
}

function requireHeadWidth(headDim: number): void {
  if (headDim % 8 === 0) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected a head width that is a multiple of 8, got ${headDim}`,
    hint: 'ONNX Runtime attends to no other width: run this model in kvlr, or export it as GGUF.',
    data: { headDim },
  });
}
