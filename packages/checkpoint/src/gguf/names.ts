import type { DecoderShape, DecoderTensor, NormShape, TensorRole } from '@kvlr/core';
import { halfSplitRowOrder, interleavedRowOrder, permuteRows } from '@kvlr/rope';
import type {
  ArchitectureDescriptor,
  FusedTensor,
  GgufFamily,
  NamedTensorRole,
} from '../architectures/architecture.ts';
import { type TensorLayout, tensorLayout } from '../model/stored-tensors.ts';

/** Names of the tensors of a GGUF file; a bias is named after its weight. */
const names = {
  embedding: 'token_embd.weight',
  positionEmbedding: 'position_embd.weight',
  embeddingNorm: 'token_embd_norm.weight',
  attentionNorm: 'blk.{layer}.attn_norm.weight',
  queryWeight: 'blk.{layer}.attn_q.weight',
  keyWeight: 'blk.{layer}.attn_k.weight',
  valueWeight: 'blk.{layer}.attn_v.weight',
  outputWeight: 'blk.{layer}.attn_output.weight',
  queryNorm: 'blk.{layer}.attn_q_norm.weight',
  keyNorm: 'blk.{layer}.attn_k_norm.weight',
  attentionOutputNorm: 'blk.{layer}.post_attention_norm.weight',
  feedForwardNorm: 'blk.{layer}.ffn_norm.weight',
  gateWeight: 'blk.{layer}.ffn_gate.weight',
  upWeight: 'blk.{layer}.ffn_up.weight',
  downWeight: 'blk.{layer}.ffn_down.weight',
  feedForwardOutputNorm: 'blk.{layer}.post_ffw_norm.weight',
  finalNorm: 'output_norm.weight',
  languageModelHead: 'output.weight',
} as const satisfies Partial<Record<NamedTensorRole, string>>;

const fusedTensors = {
  attn_qkv: { name: 'blk.{layer}.attn_qkv.weight', roles: ['queryWeight', 'keyWeight', 'valueWeight'], order: 'parts' },
  ffn_up: { name: 'blk.{layer}.ffn_up.weight', roles: ['gateWeight', 'upWeight'], order: 'parts' },
} as const satisfies Record<string, FusedTensor>;

/** Where the tensors of a model lie in a GGUF file. `fused`: what lies as one. */
export function ggufLayout(
  descriptor: ArchitectureDescriptor,
  { fused = [], secondNorm }: Pick<GgufFamily, 'fused' | 'secondNorm'>,
  { head, blocks }: Pick<DecoderShape, 'head' | 'blocks'>,
): TensorLayout {
  const own = fused.map((name) => fusedTensors[name]);
  const inFused: readonly string[] = own.flatMap(({ roles }) => roles);
  const apart = secondNorm !== undefined && blocks.before === 'each';
  const norms = apart ? { attentionNorm: secondNorm.name, feedForwardNorm: names.attentionNorm } : {};
  const alone = Object.fromEntries(Object.entries({ ...names, ...norms }).filter(([role]) => !inFused.includes(role)));
  return tensorLayout({ ...descriptor, prefixes: undefined, tensors: alone, fused: own }, head.tied);
}

/** What lies as one in a file with tensors of these names: older files of a family may hold apart what newer ones hold together. */
export function fusedInFile(has: (name: string) => boolean, gated: boolean): GgufFamily['fused'] {
  return [
    ...(has('blk.0.attn_qkv.weight') ? ['attn_qkv' as const] : []),
    ...(gated && !has('blk.0.ffn_gate.weight') ? ['ffn_up' as const] : []),
  ];
}

/**
 * Whether the rows of a tensor lie otherwise in the file: where llama.cpp rotates neighbouring rows of a head, and the model rows
 * half a head apart.
 */
export function isPermuted(shape: DecoderShape, family: GgufFamily, role: TensorRole): boolean {
  if (family.rowOrder !== 'interleaved' || !/^(query|key)(Weight|Bias)$/.test(role)) return false;
  return shape.layers.some(({ positions }) => positions.kind === 'rope' && positions.pairs === 'half-split');
}

/** Rows of queries or keys as the file has them from the model's, or the other way. */
export function permuteHeads<Data extends Float32Array | Uint8Array>(
  rows: Data,
  { shape: [count] }: Pick<DecoderTensor, 'shape'>,
  headDim: number,
  to: 'file' | 'model',
): Data {
  const order = to === 'file' ? interleavedRowOrder : halfSplitRowOrder;
  return permuteRows(rows, order(count! / headDim, headDim), rows.length / count!) as Data;
}

/** What a scale in the file exceeds the model's by: GGUF holds what is multiplied with, Gemma's own files that less one. */
export function scaleOffset({ blocks, attention, embedding, head }: DecoderShape, role: TensorRole): number {
  const others: Partial<Record<TensorRole, NormShape | undefined>> = {
    embeddingNorm: embedding.norm,
    queryNorm: attention.queryKeyNorm,
    keyNorm: attention.queryKeyNorm,
    finalNorm: head.norm,
  };
  if (!role.endsWith('Norm')) return 0;
  return (role in others ? others[role] : blocks.norm)?.unitOffset ? 1 : 0;
}
