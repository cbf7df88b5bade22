import type { DecoderShape, TensorRole } from '@kvlr/core';
import type { OnnxFloatDtype } from './format.ts';
import type { GraphBuilder } from './graph.ts';
import { type LayerInputs, normalise, normHeads, readStream, type Stream } from './norms.ts';

/** One layer: attention and feed-forward block around the stream, one behind the other or side by side. */
export function decoderLayer(graph: GraphBuilder, stream: Stream, layer: number, inputs: LayerInputs): Stream {
  const { before, parallel } = inputs.shape.blocks;
  const path = `/model/layers.${layer}`;
  const first = readStream(graph, `${path}/input_layernorm`, stream, 'attentionNorm', inputs, layer);
  const attended = attentionBlock(graph, first.input, layer, inputs);
  const between = parallel ? { kept: first.sum } : { kept: first.sum, added: attended };
  const second =
    before === 'shared'
      ? first
      : readStream(graph, `${path}/post_attention_layernorm`, between, 'feedForwardNorm', inputs, layer);
  const fed = feedForwardBlock(graph, second.input, layer, inputs);
  if (!parallel) return { kept: second.sum, added: fed };
  return { kept: first.sum, added: graph.node(`${path}/Add`, 'Add', [attended, fed]) };
}

/** q, k, v, their norms, attention over past and present, output projection. */
function attentionBlock(graph: GraphBuilder, input: string, layer: number, inputs: LayerInputs): string {
  const { shape, keyValueHeads, dtype, positions, weights } = inputs;
  const { attention, layers, headDim, numAttentionHeads } = shape;
  const path = `/model/layers.${layer}/attn`;
  const clipped = (part: string, x: string): string => {
    if (attention.clip === undefined) return x;
    const bounds = [-attention.clip, attention.clip].map((bound, index) =>
      graph.scalar(`${path}/${part}/bound_${index}`, dtype, bound),
    );
    return graph.node(`${path}/${part}/Clip`, 'Clip', [x, ...bounds]);
  };
  const project = (part: 'q' | 'k' | 'v', role: TensorRole): string =>
    clipped(`${part}_proj`, weights.product(`${path}/${part}_proj`, input, role, layer));
  const rotation = inputs.rotations[layer];
  const rotate = (part: 'q' | 'k', heads: number, x: string): string => {
    if (rotation === undefined || rotation.inAttention) return x;
    const tables = [positions!, rotation.cosCache, rotation.sinCache];
    return graph.node(`${path}/${part}_rotary`, 'RotaryEmbedding', [x, ...tables], {
      domain: 'com.microsoft',
      attributes: {
        ...(rotation.interleaved && { interleaved: { integer: 1 } }),
        ...(rotation.rotaryDim < headDim && {
          ...{ num_heads: { integer: heads }, rotary_embedding_dim: { integer: rotation.rotaryDim } },
        }),
      },
    });
  };
  const query = normHeads(graph, `${path}/q_norm`, project('q', 'queryWeight'), 'queryNorm', layer, inputs);
  const key = normHeads(graph, `${path}/k_norm`, project('k', 'keyWeight'), 'keyNorm', layer, inputs);
  const value = project('v', 'valueWeight');
  const cacheShape = (length: string) => ['batch_size', keyValueHeads, length, headDim];
  const [pastKey, pastValue] = ['key', 'value'].map((part) =>
    graph.input({ name: `past_key_values.${layer}.${part}`, dtype, shape: cacheShape('past_sequence_length') }),
  );
  const [presentKey, presentValue] = ['key', 'value'].map((part) =>
    graph.output({ name: `present.${layer}.${part}`, dtype, shape: cacheShape('total_sequence_length') }),
  );
  const { window } = layers[layer]!;
  const attended = graph.node(
    `${path}/GroupQueryAttention`,
    'GroupQueryAttention',
    [
      ...[rotate('q', numAttentionHeads, query), rotate('k', keyValueHeads, key), value, pastKey!, pastValue!],
      ...[inputs.lastPositions, inputs.totalLength],
      ...(rotation?.inAttention ? [rotation.cosCache, rotation.sinCache] : []),
    ],
    {
      domain: 'com.microsoft',
      attributes: {
        num_heads: { integer: numAttentionHeads },
        kv_num_heads: { integer: keyValueHeads },
        scale: { float: attention.scoreScale },
        do_rotary: { integer: rotation?.inAttention ? 1 : 0 },
        ...(rotation?.inAttention && rotation.interleaved && { rotary_interleaved: { integer: 1 } }),
        ...(window !== undefined && { local_window_size: { integer: window } }),
        ...(attention.softCap !== undefined && { softcap: { float: attention.softCap } }),
      },
      outputs: [`${path}/GroupQueryAttention/output`, presentKey!, presentValue!],
    },
  );
  const output = weights.product(`${path}/o_proj`, attended, 'outputWeight', layer);
  return branch(graph, `/model/layers.${layer}/attn_branch`, output, 'attentionOutputNorm', layer, inputs);
}

/** Activation of the gate times the up projection, or of the up projection alone; down projection. */
function feedForwardBlock(graph: GraphBuilder, input: string, layer: number, inputs: LayerInputs): string {
  const { shape, weights } = inputs;
  const path = `/model/layers.${layer}/mlp`;
  const activated = (role: 'gate' | 'up') =>
    activate(graph, `${path}/act_fn`, weights.product(`${path}/${role}_proj`, input, `${role}Weight`, layer), shape);
  const up = () => weights.product(`${path}/up_proj`, input, 'upWeight', layer);
  const inner = shape.feedForward.gated ? graph.node(`${path}/Mul`, 'Mul', [activated('gate'), up()]) : activated('up');
  const output = weights.product(`${path}/down_proj`, inner, 'downWeight', layer);
  return branch(graph, `/model/layers.${layer}/mlp_branch`, output, 'feedForwardOutputNorm', layer, inputs);
}

/** What a block adds to the stream: normed and scaled, where the decoder does so. */
function branch(
  graph: GraphBuilder,
  path: string,
  output: string,
  role: 'attentionOutputNorm' | 'feedForwardOutputNorm',
  layer: number,
  inputs: LayerInputs,
): string {
  const { blocks } = inputs.shape;
  const normed = blocks.after === 'branch' ? normalise(graph, path, output, blocks.norm, role, inputs, layer) : output;
  return multiplied(graph, `${path}/scale`, normed, blocks.residualScale, inputs.dtype);
}

/** x times a factor, where it is not 1. */
export function multiplied(
  graph: GraphBuilder,
  path: string,
  x: string,
  factor: number,
  dtype: OnnxFloatDtype,
): string {
  return factor === 1 ? x : graph.node(path, 'Mul', [x, graph.scalar(`${path}/factor`, dtype, factor)]);
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
