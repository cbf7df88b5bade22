import type { Tensor } from '@tensorflow/tfjs-core';
import { util } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../register/define-fused-kernel.ts';
import type { AppendAttributes, AppendInputs } from './append-call.ts';
import { rotateAndAppendOnGpu } from './rotate-and-append-gpu.ts';
import { rotateAndAppendOnHost } from './rotate-and-append-host.ts';

const run = defineFusedKernel<AppendInputs, AppendAttributes>({
  name: 'KvlrRotateAndAppend',
  bytesRead: ({ keyEncoder, queryEncoder }) =>
    4 * [keyEncoder, queryEncoder].reduce((sum, part) => sum + (part ? util.sizeFromShape(part.shape) : 0), 0),
  webgpu: ({ inputs, attributes, backend }) => rotateAndAppendOnGpu(backend, inputs, attributes),
  wasm: ({ inputs, attributes, backend }) => rotateAndAppendOnHost(backend, inputs, attributes),
  cpu: ({ inputs, attributes, backend }) => rotateAndAppendOnHost(backend, inputs, attributes),
});

/**
 * Rotates new keys (Su et al. 2021, half-split layout), encodes them where the layout is latent, converts them and the new
 * values to the cache's dtype and writes both behind what each sequence holds, in place, in one dispatch. 'rebuilt' keys are
 * written as they come. Returns the queries, rotated, encoded where latent, and divided by sqrt(headDim), float32
 * [batch * tokens, variants, numAttentionHeads, width].
 *
 * With a window the places behind the sinks are a ring, and positions run on. Relative to the tokens of the window, RoPE
 * is right as it stands; the sinks would move ever farther away. The second variant of a query is therefore rotated for the
 * position that it has in the cache, at most sinks + window - 1 (as StreamingLLM does by rotating keys anew), and read by
 * attention for the sinks alone.
 */
export function rotateAndAppend(
  inputs: { [Name in keyof AppendInputs]: Tensor },
  attributes: AppendAttributes,
): Tensor {
  return run(inputs, attributes)[0]!;
}
