import type { Tensor } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../register/define-fused-kernel.ts';
import { type AttentionAttributes, type AttentionInputs, attentionBytes } from './attention-call.ts';
import { attendOnHost } from './host/attend-on-host.ts';
import { plainRowMath } from './host/row-math.ts';
import { vectorRowMath } from './host/vector-row-math.ts';
import { prefillAttentionOnGpu } from './prefill-attention-gpu.ts';

const run = defineFusedKernel<AttentionInputs, AttentionAttributes>({
  name: 'KvlrPrefillAttention',
  bytesRead: attentionBytes,
  webgpu: ({ inputs, attributes, backend }) => prefillAttentionOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => attendOnHost(backend, vectorRowMath(backend), inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => attendOnHost(backend, plainRowMath, inputs, attributes),
});

/**
 * Causal attention of several new tokens of each sequence over its cache, which holds them already: tiles with an online
 * softmax (Dao et al. 2022, arXiv 2205.14135), so that no table of tokens times entries is kept. The cache must not be a ring
 * that has come round; see `copyEntries`. Returns the attended values, float32
 * [batch * tokens, numAttentionHeads * valueSlotWidth], zeros in padding rows. Layouts 'stock' and 'latent'.
 */
export function prefillAttention(
  inputs: { [Name in keyof AttentionInputs]: Tensor },
  attributes: AttentionAttributes,
): Tensor {
  return run(inputs, attributes)[0]!;
}
