import { KvlrError, type TensorRole } from '@kvlr/core';

const perLayer: Partial<Record<TensorRole, string>> = {
  attentionNorm: 'input_layernorm.weight',
  queryWeight: 'self_attn.q_proj.weight',
  keyWeight: 'self_attn.k_proj.weight',
  valueWeight: 'self_attn.v_proj.weight',
  outputWeight: 'self_attn.o_proj.weight',
  queryBias: 'self_attn.q_proj.bias',
  keyBias: 'self_attn.k_proj.bias',
  valueBias: 'self_attn.v_proj.bias',
  outputBias: 'self_attn.o_proj.bias',
  queryNorm: 'self_attn.q_norm.weight',
  queryNormBias: 'self_attn.q_norm.bias',
  keyNorm: 'self_attn.k_norm.weight',
  keyNormBias: 'self_attn.k_norm.bias',
  latentKeyEncoder: 'self_attn.k_latent.weight',
  latentQueryEncoder: 'self_attn.q_latent.weight',
  rebuiltKeyDecoder: 'self_attn.k_rebuild.weight',
  feedForwardNorm: 'post_attention_layernorm.weight',
  gateWeight: 'mlp.gate_proj.weight',
  upWeight: 'mlp.up_proj.weight',
  downWeight: 'mlp.down_proj.weight',
  gateBias: 'mlp.gate_proj.bias',
  upBias: 'mlp.up_proj.bias',
  downBias: 'mlp.down_proj.bias',
};

/** Hugging Face's names of a LLaMA model's tensors. */
export function llamaTensorName(role: TensorRole, layer?: number): string {
  if (role === 'embedding') return 'model.embed_tokens.weight';
  if (role === 'finalNorm') return 'model.norm.weight';
  if (role === 'languageModelHead') return 'lm_head.weight';
  const suffix = perLayer[role];
  if (suffix === undefined || layer === undefined) {
    throw new KvlrError('invalid-argument', { message: `llamaTensorName: role ${role} needs a layer` });
  }
  return `model.layers.${layer}.${suffix}`;
}
