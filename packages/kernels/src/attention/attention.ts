import { getBackend, type Tensor } from '@tensorflow/tfjs-core';
import { rotateAndAppend } from '../cache/rotate-and-append.ts';
import { type AppendAttributes, type AppendInputs, queryVariants } from '../cache/rotate-and-append-host.ts';
import { defineFusedKernel, webgpuAlone } from '../fused-kernel.ts';
import {
  type AttentionAttributes,
  type AttentionInputs,
  attendOnHost,
  type SlotAttentionInputs,
} from './attention-host.ts';
import {
  appendAndAttendOnGpu,
  appendAndAttendParts,
  attentionAppends,
  attentionParts,
  decodeAttentionOnGpu,
} from './decode-attention-webgpu.ts';
import { prefillAttentionOnGpu } from './prefill-attention-webgpu.ts';
import { plainRowMath } from './row-math.ts';
import { vectorRowMath } from './row-math-wasm.ts';

/** Bytes of cache that a call reads when every entry is read once. */
function attentionBytes(
  { cache }: Pick<AttentionInputs, 'cache'>,
  { format, longest }: Pick<AttentionAttributes, 'format' | 'longest'>,
): number {
  return 4 * cache.shape[0]! * longest * format.entryWords;
}

const decode = defineFusedKernel<AttentionInputs, AttentionAttributes>({
  name: 'KvlrDecodeAttention',
  bytesRead: attentionBytes,
  webgpu: ({ inputs, attributes, backend }) => decodeAttentionOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => attendOnHost(backend, vectorRowMath(backend), inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => attendOnHost(backend, plainRowMath, inputs, attributes),
});

/**
 * Attention of one new token of each sequence over its cache, in the manner of flash-decoding (Dao et al. 2023): the cache is
 * split into chunks, each chunk's softmax stands alone, and a second dispatch joins them; one dispatch where the cache has
 * no more places than a chunk. A
 * workgroup serves all query heads of a slot, so every number of the cache is read once. Returns the attended values,
 * float32 [batch, numAttentionHeads * valueSlotWidth]; zeros for a sequence without a new token. Layouts 'stock' and 'latent'.
 */
export function decodeAttention(
  inputs: { [Name in keyof AttentionInputs]: Tensor },
  attributes: AttentionAttributes,
): Tensor {
  return decode(inputs, attributes)[0]!;
}

const appendAndDecode = defineFusedKernel<AppendInputs, AppendAttributes & { longest: number }>({
  name: 'KvlrAppendAndAttend',
  bytesRead: attentionBytes,
  webgpu: ({ inputs, attributes, backend }) => appendAndAttendOnGpu(backend, inputs, attributes),
  wasm: webgpuAlone(' for appending within attention'),
  cpu: webgpuAlone(' for appending within attention'),
});

/**
 * `rotateAndAppend` and `decodeAttention` of one new token of each sequence: on WebGPU one kernel where keys are kept as they are and
 * slots are not very wide, else both. `longest` is as in `AttentionAttributes`.
 */
export function appendAndAttend(
  inputs: { [Name in keyof AppendInputs]: Tensor },
  attributes: AppendAttributes,
  longest: number,
): Tensor {
  const { format, window } = attributes;
  if (getBackend() === 'webgpu' && attentionAppends(attributes, queryVariants(window))) {
    return appendAndDecode(inputs, { ...attributes, longest })[0]!;
  }
  const queries = rotateAndAppend(inputs, attributes);
  const { cache, sequences } = inputs;
  const attended = decodeAttention({ queries, cache, sequences }, { format, window, longest });
  queries.dispose();
  return attended;
}

const decodeParts = defineFusedKernel<AttentionInputs, AttentionAttributes>({
  name: 'KvlrDecodeAttentionParts',
  bytesRead: attentionBytes,
  webgpu: ({ inputs, attributes, backend }) => attentionParts(backend, inputs, attributes),
  wasm: webgpuAlone(' for appending within attention'),
  cpu: webgpuAlone(' for appending within attention'),
});

const appendAndDecodeParts = defineFusedKernel<AppendInputs, AppendAttributes & { longest: number }>({
  name: 'KvlrAppendAndAttendParts',
  bytesRead: attentionBytes,
  webgpu: ({ inputs, attributes, backend }) => appendAndAttendParts(backend, inputs, attributes),
  wasm: webgpuAlone(' for appending within attention'),
  cpu: webgpuAlone(' for appending within attention'),
});

/** As `appendAndAttend` on WebGPU, but the parts, [batch, heads, splits, `partNumbers`], which `joinedRows` joins. */
export function appendAndAttendInParts(
  inputs: { [Name in keyof AppendInputs]: Tensor },
  attributes: AppendAttributes,
  longest: number,
): Tensor {
  const { format, window } = attributes;
  if (attentionAppends(attributes, queryVariants(window))) {
    return appendAndDecodeParts(inputs, { ...attributes, longest })[0]!;
  }
  const queries = rotateAndAppend(inputs, attributes);
  const { cache, sequences } = inputs;
  const parts = decodeParts({ queries, cache, sequences }, { format, window, longest })[0]!;
  queries.dispose();
  return parts;
}

const prefill = defineFusedKernel<SlotAttentionInputs, AttentionAttributes>({
  name: 'KvlrPrefillAttention',
  bytesRead: attentionBytes,
  webgpu: ({ inputs, attributes, backend }) => prefillAttentionOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => attendOnHost(backend, vectorRowMath(backend), inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => attendOnHost(backend, plainRowMath, inputs, attributes),
});

/**
 * Causal attention of several new tokens of each sequence over its cache, which holds them already: tiles with an online
 * softmax (Dao et al. 2022, arXiv 2205.14135), so that no table of tokens times entries is kept. The cache must not be a ring
 * whose oldest entries are overwritten; see `copyEntries`. Returns the attended values, float32
 * [batch * tokens, numAttentionHeads * valueSlotWidth], zeros in padding rows. Layouts 'stock' and 'latent'.
 *
 * With `slots` every slot has a length of its own, and `longest` is that of the longest one.
 */
export function prefillAttention(
  inputs: { [Name in keyof SlotAttentionInputs]: Tensor },
  attributes: AttentionAttributes,
): Tensor {
  return prefill(inputs, attributes)[0]!;
}
