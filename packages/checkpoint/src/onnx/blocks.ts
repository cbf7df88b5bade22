import type { DecoderShape, TensorRole } from '@kvlr/core';
import type { OnnxFloatDtype } from './format.ts';
import type { GraphBuilder } from './graph.ts';

/** What all layers share: the model's numbers, its constants, and what is known of the sequences. */
export interface LayerInputs {
  shape: DecoderShape;
  dtype: OnnxFloatDtype;
  keyValueHeads: number;
  /** Name of the constant that holds a weight. */
  weights(role: TensorRole, layer?: number): string;
  lastPositions: string;
  totalLength: string;
  cosCache: string;
  sinCache: string;
  /** Position of each token, where queries and keys are rotated before attention instead of in it. */
  positions?: string;
}

/** The residual stream as the sum of two values, which the next normalisation adds; nothing is added to the first. */
export interface Stream {
  kept: string;
  added: string;
}

/** Normed input, q, k, v, attention over past and present, output projection. */
export function attentionBlock(graph: GraphBuilder, stream: Stream, layer: number, inputs: LayerInputs): Stream {
  const { shape, keyValueHeads, dtype, positions, cosCache, sinCache } = inputs;
  const path = `/model/layers.${layer}/attn`;
  const { normed, sum } = normalise(graph, stream, 'attentionNorm', layer, inputs);
  const bias = shape.attention.inputBias;
  const rotate = (part: 'q' | 'k', heads: string): string =>
    positions === undefined
      ? heads
      : graph.node(`${path}/${part}_rotary`, 'RotaryEmbedding', [heads, positions, cosCache, sinCache], {
          domain: 'com.microsoft',
        });
  const query = project(graph, `${path}/q_proj`, normed, layer, inputs, 'queryWeight', bias && 'queryBias');
  const key = project(graph, `${path}/k_proj`, normed, layer, inputs, 'keyWeight', bias && 'keyBias');
  const value = project(graph, `${path}/v_proj`, normed, layer, inputs, 'valueWeight', bias && 'valueBias');
  const cacheShape = (length: string) => ['batch_size', keyValueHeads, length, shape.headDim];
  const [pastKey, pastValue] = ['key', 'value'].map((part) =>
    graph.input({ name: `past_key_values.${layer}.${part}`, dtype, shape: cacheShape('past_sequence_length') }),
  );
  const [presentKey, presentValue] = ['key', 'value'].map((part) =>
    graph.output({ name: `present.${layer}.${part}`, dtype, shape: cacheShape('total_sequence_length') }),
  );
  const attended = graph.node(
    `${path}/GroupQueryAttention`,
    'GroupQueryAttention',
    [
      ...[rotate('q', query), rotate('k', key), value, pastKey!, pastValue!],
      ...[inputs.lastPositions, inputs.totalLength],
      ...(positions === undefined ? [cosCache, sinCache] : []),
    ],
    {
      domain: 'com.microsoft',
      attributes: {
        num_heads: { integer: shape.numAttentionHeads },
        kv_num_heads: { integer: keyValueHeads },
        scale: { float: shape.attention.scoreScale },
        do_rotary: { integer: positions === undefined ? 1 : 0 },
      },
      outputs: [`${path}/GroupQueryAttention/output`, presentKey!, presentValue!],
    },
  );
  const outputBias = shape.attention.outputBias && 'outputBias';
  return { kept: sum, added: project(graph, `${path}/o_proj`, attended, layer, inputs, 'outputWeight', outputBias) };
}

/** Normed input, activation of the gate times the up projection, down projection. */
export function feedForwardBlock(graph: GraphBuilder, stream: Stream, layer: number, inputs: LayerInputs): Stream {
  const path = `/model/layers.${layer}/mlp`;
  const { normed, sum } = normalise(graph, stream, 'feedForwardNorm', layer, inputs);
  const bias = inputs.shape.feedForward.bias;
  const gate = project(graph, `${path}/gate_proj`, normed, layer, inputs, 'gateWeight', bias && 'gateBias');
  const up = project(graph, `${path}/up_proj`, normed, layer, inputs, 'upWeight', bias && 'upBias');
  const gated = graph.node(`${path}/Mul`, 'Mul', [activate(graph, `${path}/act_fn`, gate, inputs.shape), up]);
  return {
    kept: sum,
    added: project(graph, `${path}/down_proj`, gated, layer, inputs, 'downWeight', bias && 'downBias'),
  };
}

/** RMSNorm of the stream, and the stream itself as one value. */
function normalise(
  graph: GraphBuilder,
  { kept, added }: Stream,
  role: 'attentionNorm' | 'feedForwardNorm',
  layer: number,
  { shape, weights }: LayerInputs,
): { normed: string; sum: string } {
  const path = `/model/layers.${layer}/${role === 'attentionNorm' ? 'input_layernorm' : 'post_attention_layernorm'}`;
  const epsilon = { float: shape.blocks.norm.epsilon };
  const weight = weights(role, layer);
  if (added === '') {
    const attributes = { epsilon, axis: { integer: -1 }, stash_type: { integer: 1 } };
    return { normed: graph.node(path, 'SimplifiedLayerNormalization', [kept, weight], { attributes }), sum: kept };
  }
  const outputs = [`${path}/output`, '', '', `${path}/sum`];
  const normed = graph.node(path, 'SkipSimplifiedLayerNormalization', [kept, added, weight], {
    domain: 'com.microsoft',
    attributes: { epsilon },
    outputs,
  });
  return { normed, sum: outputs[3]! };
}

function project(
  graph: GraphBuilder,
  path: string,
  input: string,
  layer: number,
  { weights }: LayerInputs,
  weight: TensorRole,
  bias: TensorRole | false,
): string {
  const product = graph.node(`${path}/MatMul`, 'MatMul', [input, weights(weight, layer)]);
  return bias ? graph.node(`${path}/Add`, 'Add', [product, weights(bias, layer)]) : product;
}

function activate(graph: GraphBuilder, path: string, gate: string, { feedForward }: DecoderShape): string {
  switch (feedForward.activation) {
    case 'relu':
      return graph.node(`${path}/Relu`, 'Relu', [gate]);
    case 'silu':
      return graph.node(`${path}/Mul`, 'Mul', [gate, graph.node(`${path}/Sigmoid`, 'Sigmoid', [gate])]);
    case 'gelu':
      return graph.node(`${path}/Gelu`, 'Gelu', [gate], { domain: 'com.microsoft' });
    case 'gelu_pytorch_tanh':
      return graph.node(`${path}/FastGelu`, 'FastGelu', [gate], { domain: 'com.microsoft' });
  }
}
