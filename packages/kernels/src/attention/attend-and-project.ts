import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, type Tensor, type TensorInfo } from '@tensorflow/tfjs-core';
import type { CacheFormat, CacheWindow } from '../cache/cache-format.ts';
import { type AppendAttributes, type AppendInputs, queryVariants } from '../cache/rotate-and-append-host.ts';
import { defineFusedKernel, type KernelCall } from '../fused-kernel.ts';
import { rowsOfGroup } from '../projection/few-tokens-plan.ts';
import { fewTokensPlan, fewTokensProgram } from '../projection/few-tokens-program.ts';
import {
  FEW_TOKENS,
  type ProjectionRequest,
  partsOfRequest,
  projectAdd,
  weightBytes,
} from '../projection/projection.ts';
import type { ProjectionAttributes, ProjectionInputs } from '../projection/projection-host.ts';
import { traitsOf } from '../webgpu/device-traits.ts';
import { runProgram } from '../webgpu/run-program.ts';
import { appendAndAttend, appendAndAttendInParts } from './attention.ts';
import { splitsOfCache } from './decode-attention-webgpu.ts';
import { canJoin, joinedRows } from './joined-rows.ts';

/** Bytes of parts that all workgroups of a product together may read: it takes as long as the dispatch that is saved. */
const MOST_JOINED_BYTES = 2 ** 25;

/** The output projection behind attention, and the stream that its result is added to, [batch, rows]. */
export type OutputProjection = Required<Pick<ProjectionRequest, 'matrix' | 'residual'>> &
  Pick<ProjectionRequest, 'bias'>;

/**
 * `appendAndAttend`, and `projectAdd` of what it gives: float32 [batch, rows]. Where on WebGPU attention leaves a few parts, the product
 * joins them as it loads them, so that no dispatch does; of many parts, wide models and large batches every workgroup would read too much,
 * and they are joined first.
 */
export function attendAndProjectAdd(
  inputs: { [Name in keyof AppendInputs]: Tensor },
  attributes: AppendAttributes,
  longest: number,
  output: OutputProjection,
): Tensor {
  const { format, window } = attributes;
  const { matrix, residual, bias } = output;
  if (!joinsParts(inputs.cache, attributes, output)) {
    const attended = appendAndAttend(inputs, attributes, longest);
    const result = projectAdd(attended, matrix, residual, bias);
    attended.dispose();
    return result;
  }
  const parts = appendAndAttendInParts(inputs, attributes, longest);
  const request = partsOfRequest(output, parts.shape[0]!);
  const { sequences } = inputs;
  const [result] = runJoined(
    { x: parts, sequences, ...request.inputs },
    { ...request.attributes, cache: format, window },
  );
  parts.dispose();
  return result!;
}

interface JoinedInputs extends ProjectionInputs {
  /** int32 [batch, 3], see `SequenceRow`; `x` are the parts. */
  sequences: TensorInfo;
}

interface JoinedAttributes extends ProjectionAttributes {
  cache: CacheFormat;
  window: CacheWindow;
}

const runJoined = defineFusedKernel<JoinedInputs, JoinedAttributes>({
  name: 'KvlrJoinAndProjectAdd',
  bytesRead: weightBytes,
  webgpu: joinAndProjectOnGpu,
  wasm: refuse,
  cpu: refuse,
});

function joinAndProjectOnGpu(call: KernelCall<JoinedInputs, JoinedAttributes, WebGPUBackend>): TensorInfo {
  const { inputs, attributes, backend: gpu } = call;
  const tokens = inputs.x.shape[0]!;
  const tensor = gpu.makeTensorInfo([tokens, attributes.rows], 'float32');
  const source = joinedRows(inputs.x, inputs.sequences, attributes.cache, attributes.window);
  const traits = traitsOf(gpu);
  attributes.shards.forEach((_, shard) => {
    const request = { inputs, attributes, shard, tokens, traits, source };
    runProgram(gpu, fewTokensProgram(request, { kind: 'rows', result: { name: 'result', type: 'f32', tensor } }));
  });
  return tensor;
}

function joinsParts(
  cache: TensorInfo,
  { format, window, numAttentionHeads }: AppendAttributes,
  output: OutputProjection,
): boolean {
  const batch = cache.shape[0]!;
  if (getBackend() !== 'webgpu' || batch > FEW_TOKENS) return false;
  const gpu = backend() as WebGPUBackend;
  const splits = splitsOfCache(gpu, cache, { format, numAttentionHeads, variants: queryVariants(window) });
  if (!canJoin(format, batch, numAttentionHeads, splits)) return false;
  const { inputs, attributes } = partsOfRequest(output, batch);
  const traits = traitsOf(gpu);
  const groups = attributes.shards.map(({ rows }, shard) => {
    const request = { inputs: { x: cache, ...inputs }, attributes, shard, tokens: batch, traits };
    return Math.ceil(rows / rowsOfGroup(fewTokensPlan(request)));
  });
  const all = groups.reduce((sum, count) => sum + count, 0);
  return all * batch * attributes.columns * splits * 4 <= MOST_JOINED_BYTES;
}

function refuse(): never {
  throw new KvlrError('unsupported-feature', {
    message: 'expected the WebGPU backend for joining parts of attention.',
  });
}
