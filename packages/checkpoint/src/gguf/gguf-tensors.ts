import type { ModelSource, TensorRole } from '@kvlr/core';
import { interleavedRowOrder, permuteRows, ropeFrequencies } from '@kvlr/rope';
import type { GgufFamily, NamedTensorRole } from '../architectures/architecture-descriptor.ts';
import type { WeightDtype } from '../dtypes/encode-floats.ts';
import { type ExpectedTensor, expectedTensors } from '../model/expected-tensors.ts';
import type { GgufTensorPlan } from './encode-gguf-header.ts';

/** A tensor of the file and how its numbers are got when its turn comes. */
export interface GgufTensor extends GgufTensorPlan {
  read(): Promise<Float32Array>;
}

const ggufNames: Record<NamedTensorRole, string> = {
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
  const tensors = expectedTensors(model.shape).map((expected): GgufTensor => {
    const { role, layer, shape } = expected;
    const suffix = ggufNames[role as NamedTensorRole];
    return {
      name: layer === undefined ? suffix : `blk.${layer}.${suffix}`,
      dtype: shape.length === 1 ? 'F32' : dtype,
      shape,
      read: async () => {
        const values = await model.tensors.readFloat32(model.tensorName(role, layer));
        return family.rowOrder === 'interleaved' ? interleaveHeads(values, expected, model.shape.headDim) : values;
      },
    };
  });
  const factors = frequencyFactors(model);
  if (factors === undefined) return tensors;
  return [...tensors, { name: 'rope_freqs.weight', dtype: 'F32', shape: [factors.length], read: async () => factors }];
}

/** Query and key rows with the two rows of a rotated pair side by side, each projection by its own head count. */
function interleaveHeads(values: Float32Array, { role, shape }: ExpectedTensor, headDim: number): Float32Array {
  const rotated: readonly TensorRole[] = ['queryWeight', 'keyWeight', 'queryBias', 'keyBias'];
  if (!rotated.includes(role)) return values;
  const rows = shape[0]!;
  return permuteRows(values, interleavedRowOrder(rows / headDim, headDim), shape[1] ?? 1);
}

/** What llama.cpp divides each default frequency by, for Llama 3's scaling. */
function frequencyFactors({ shape: { rope, headDim } }: ModelSource): Float32Array | undefined {
  if (rope.type !== 'llama3') return undefined;
  const plain = ropeFrequencies({ type: 'default', theta: rope.theta }, headDim);
  const scaled = ropeFrequencies(rope, headDim);
  return Float32Array.from(plain, (frequency, pair) => frequency / scaled[pair]!);
}
