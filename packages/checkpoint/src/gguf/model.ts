import {
  type DecoderShape,
  type DecoderTensor,
  decoderTensors,
  layerRope,
  type ModelSource,
  type TensorRole,
} from '@kvlr/core';
import { interleavedRowOrder, permuteRows, ropeFrequencies } from '@kvlr/rope';
import type { GgufFamily } from '../architectures/architecture.ts';
import type { WeightDtype } from '../dtypes.ts';
import { type GgufTensorPlan, type GgufValue, ggufFileTypes } from './format.ts';

/** Metadata that describes the decoder: sizes, heads, rotary positions. `keyValueHeads` is one count a layer. */
export function ggufModelMetadata(
  shape: DecoderShape,
  family: GgufFamily,
  settings: { name: string; dtype: WeightDtype; keyValueHeads: readonly number[] },
): Map<string, GgufValue> {
  const { architecture } = family;
  const { rope } = layerRope(shape, 0)!;
  const integers: Record<string, number> = {
    block_count: shape.numLayers,
    context_length: shape.maxPositionEmbeddings,
    embedding_length: shape.hiddenSize,
    vocab_size: shape.vocabSize,
    'attention.key_length': shape.headDim,
    'attention.value_length': shape.headDim,
    'rope.dimension_count': shape.headDim,
  };
  const metadata = new Map<string, GgufValue>([
    ['general.architecture', { type: 'string', value: architecture }],
    ['general.name', { type: 'string', value: settings.name }],
    ['general.file_type', { type: 'uint32', value: ggufFileTypes[settings.dtype] }],
  ]);
  for (const [key, value] of Object.entries(integers))
    metadata.set(`${architecture}.${key}`, { type: 'uint32', value });
  const perLayer: Record<string, number[]> = {
    feed_forward_length: shape.layers.map(() => shape.feedForward.intermediateSize),
    'attention.head_count': shape.layers.map(() => shape.numAttentionHeads),
    'attention.head_count_kv': [...settings.keyValueHeads],
  };
  const differ = new Set(settings.keyValueHeads).size > 1;
  for (const [key, values] of Object.entries(perLayer)) {
    const value: GgufValue = differ
      ? { type: 'array', of: 'int32', value: values }
      : { type: 'uint32', value: values[0]! };
    metadata.set(`${architecture}.${key}`, value);
  }
  metadata.set(`${architecture}.attention.layer_norm_rms_epsilon`, {
    type: 'float32',
    value: shape.blocks.norm.epsilon,
  });
  metadata.set(`${architecture}.rope.freq_base`, { type: 'float32', value: rope.theta });
  if (rope.type === 'linear') {
    metadata.set(`${architecture}.rope.scaling.type`, { type: 'string', value: 'linear' });
    metadata.set(`${architecture}.rope.scaling.factor`, { type: 'float32', value: rope.factor });
  }
  return metadata;
}

/** A tensor of the file and how its numbers are got when its turn comes. */
export interface GgufTensor extends GgufTensorPlan {
  read(): Promise<Float32Array>;
}

const ggufNames: Partial<Record<TensorRole, string>> = {
  embedding: 'token_embd.weight',
  finalNorm: 'output_norm.weight',
  languageModelHead: 'output.weight',
  attentionNorm: 'attn_norm.weight',
  queryWeight: 'attn_q.weight',
  keyWeight: 'attn_k.weight',
  valueWeight: 'attn_v.weight',
  outputWeight: 'attn_output.weight',
  queryBias: 'attn_q.bias',
  keyBias: 'attn_k.bias',
  valueBias: 'attn_v.bias',
  outputBias: 'attn_output.bias',
  feedForwardNorm: 'ffn_norm.weight',
  gateWeight: 'ffn_gate.weight',
  upWeight: 'ffn_up.weight',
  downWeight: 'ffn_down.weight',
  gateBias: 'ffn_gate.bias',
  upBias: 'ffn_up.bias',
  downBias: 'ffn_down.bias',
};

/** The tensors of a stock grouped-query model in the order of the file. Vectors stay F32, as llama.cpp wants them. */
export function ggufTensors(model: ModelSource, family: GgufFamily, dtype: WeightDtype): GgufTensor[] {
  const tensors = decoderTensors(model.shape).map((tensor): GgufTensor => {
    const { role, layer, shape } = tensor;
    const suffix = ggufNames[role]!;
    return {
      name: layer === undefined ? suffix : `blk.${layer}.${suffix}`,
      dtype: shape.length === 1 ? 'F32' : dtype,
      shape,
      read: async () => {
        const values = await model.tensors.readFloat32(model.tensorName(role, layer));
        return family.rowOrder === 'interleaved' ? interleaveHeads(values, tensor, model.shape.headDim) : values;
      },
    };
  });
  const factors = frequencyFactors(model);
  if (factors === undefined) return tensors;
  return [...tensors, { name: 'rope_freqs.weight', dtype: 'F32', shape: [factors.length], read: async () => factors }];
}

/** Query and key rows with the two rows of a rotated pair side by side, each projection by its own head count. */
function interleaveHeads(values: Float32Array, { role, shape }: DecoderTensor, headDim: number): Float32Array {
  const rotated: readonly TensorRole[] = ['queryWeight', 'keyWeight', 'queryBias', 'keyBias'];
  if (!rotated.includes(role)) return values;
  const rows = shape[0]!;
  return permuteRows(values, interleavedRowOrder(rows / headDim, headDim), shape[1] ?? 1);
}

/** What llama.cpp divides each default frequency by, for Llama 3's scaling. */
function frequencyFactors({ shape }: ModelSource): Float32Array | undefined {
  const { rope, rotaryDim } = layerRope(shape, 0)!;
  if (rope.type !== 'llama3') return undefined;
  const plain = ropeFrequencies({ type: 'default', theta: rope.theta }, rotaryDim).frequencies;
  const scaled = ropeFrequencies(rope, rotaryDim).frequencies;
  return Float32Array.from(plain, (frequency, pair) => frequency / scaled[pair]!);
}
