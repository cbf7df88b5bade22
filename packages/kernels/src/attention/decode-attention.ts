import type { Tensor } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../register/define-fused-kernel.ts';
import { type AttentionAttributes, type AttentionInputs, attentionBytes } from './attention-call.ts';
import { decodeAttentionOnGpu } from './decode-attention-gpu.ts';
import { attendOnHost } from './host/attend-on-host.ts';
import { plainRowMath } from './host/row-math.ts';
import { vectorRowMath } from './host/vector-row-math.ts';

const run = defineFusedKernel<AttentionInputs, AttentionAttributes>({
  name: 'KvlrDecodeAttention',
  bytesRead: attentionBytes,
  webgpu: ({ inputs, attributes, backend }) => decodeAttentionOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => attendOnHost(backend, vectorRowMath(backend), inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => attendOnHost(backend, plainRowMath, inputs, attributes),
});

/**
 * Attention of one new token of each sequence over its cache, in the manner of flash-decoding (Dao et al. 2023): the cache is
 * split into chunks, each chunk's softmax stands alone, and a second dispatch joins them; one dispatch where a chunk is all. A
 * workgroup serves all query heads of a slot, so every number of the cache is read once. Returns the attended values,
 * float32 [batch, numAttentionHeads * valueSlotWidth]; zeros for a sequence without a new token. Layouts 'stock' and 'latent'.
 */
export function decodeAttention(
  inputs: { [Name in keyof AttentionInputs]: Tensor },
  attributes: AttentionAttributes,
): Tensor {
  return run(inputs, attributes)[0]!;
}
