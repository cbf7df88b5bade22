import { type DecoderShape, KvlrError, type ModelSource } from '@kvlr/core';
import { beyondStock, uniformKeyValueHeads } from '../config/native.ts';
import { decoderLayer, multiplied } from './blocks.ts';
import type { OnnxGraph } from './format.ts';
import { GraphBuilder } from './graph.ts';
import { constantOnes, type LayerInputs, readStream, type Stream } from './norms.ts';
import { layerRotations, requireRotations, sequenceLengths, tokenPositions } from './positions.ts';
import { activationDtype, type GraphWeights, graphWeights, type OnnxWeightDtype } from './weights.ts';

/**
 * A decoder as transformers.js and ONNX Runtime's own model builder lay it out: input_ids, attention_mask and
 * past_key_values.{layer}.key / .value in, logits and present.{layer}.key / .value out; caches are
 * [batch, KV heads, tokens, headDim]. Attention is ONNX Runtime's GroupQueryAttention, with the windows and soft caps of the layers; it
 * rotates queries and keys itself by the tables cos_cache and sin_cache where widths are multiples of 16, and for others
 * RotaryEmbedding stands before it. Sequences of a batch are padded behind, not before. Matrices of 4 bits are read by MatMulNBits.
 *
 * Throws 'unsupported-feature' where a layer is not stock grouped-query attention with the head count of the others, for positions
 * that are no rotation, and for head widths that ONNX Runtime does not take.
 */
export function decoderGraph(model: ModelSource, dtype: OnnxWeightDtype): OnnxGraph {
  const { shape } = model;
  const keyValueHeads = requireUniformHeads(shape);
  requireRotations(shape);
  requireBlocks(shape);
  requireHeadWidth(shape.headDim);
  const graph = new GraphBuilder();
  const float = activationDtype(dtype);
  const ids = graph.input({ name: 'input_ids', dtype: 'I64', shape: ['batch_size', 'sequence_length'] });
  const mask = graph.input({ name: 'attention_mask', dtype: 'I64', shape: ['batch_size', 'total_sequence_length'] });
  const weights = graphWeights(model, graph, dtype);
  const lengths = sequenceLengths(graph, mask);
  const rotations = layerRotations(shape, graph, float);
  const areRotatedBefore = rotations.some((rotation) => rotation && !rotation.inAttention);
  const areNormed = shape.attention.queryKeyNorm !== undefined;
  const inputs: LayerInputs = {
    ...{ shape, dtype: float, keyValueHeads, weights, rotations },
    ...lengths,
    positions: areRotatedBefore ? tokenPositions(graph, ids, mask) : undefined,
    ones: constantOnes(graph, float),
    splitHeads: areNormed ? graph.integers('/model/constants/split_heads', [0, 0, -1, shape.headDim]) : undefined,
    joinHeads: areNormed ? graph.integers('/model/constants/join_heads', [0, 0, -1]) : undefined,
  };
  const embedded = multiplied(graph, '/model/embed_tokens/scale', weights.embed(ids), shape.embedding.scale, float);
  graph.output({ name: 'logits', dtype: 'F32', shape: ['batch_size', 'sequence_length', shape.vocabSize] });
  let stream: Stream = { kept: embedded };
  for (let layer = 0; layer < shape.numLayers; layer++) stream = decoderLayer(graph, stream, layer, inputs);
  const { input } = readStream(graph, '/model/norm', stream, 'finalNorm', inputs);
  addHead(graph, input, weights, shape);
  return graph.finish();
}

/** Logits in float32, scaled and capped as the decoder does. */
function addHead(graph: GraphBuilder, input: string, weights: GraphWeights, shape: DecoderShape) {
  const { scale, softCap } = shape.head;
  const path = '/lm_head';
  const product = weights.product(path, input, 'languageModelHead');
  const whole = graph.node(`${path}/Cast`, 'Cast', [product], { attributes: { to: { integer: 1 } } });
  const scaled = multiplied(graph, `${path}/scale`, whole, scale, 'F32');
  const outputs = ['logits'];
  if (softCap === undefined) return graph.node(`${path}/Identity`, 'Identity', [scaled], { outputs });
  const cap = graph.scalar(`${path}/cap`, 'F32', softCap);
  const bent = graph.node(`${path}/Tanh`, 'Tanh', [graph.node(`${path}/Div`, 'Div', [scaled, cap])]);
  return graph.node(`${path}/Mul`, 'Mul', [bent, cap], { outputs });
}

function requireUniformHeads(shape: DecoderShape): number {
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

/** Throws 'unsupported-feature' for blocks that no family with rotary positions has. */
function requireBlocks({ blocks, embedding, hiddenSize }: DecoderShape): void {
  const beyond =
    (blocks.residual === 'normed' && 'blocks whose results are added to the norm of the stream') ||
    (blocks.after === 'stream' && 'norms of the stream behind each block') ||
    (embedding.norm !== undefined && 'a norm of the embedding') ||
    (embedding.width !== hiddenSize && 'a projected embedding');
  if (!beyond) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected norms before blocks and behind what they give, got ${beyond}`,
    hint: 'This model runs in kvlr, and in llama.cpp through GGUF where that has its family.',
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
