import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel, type KernelCall, webgpuAlone } from '../fused-kernel.ts';
import { traitsOf } from '../webgpu/device-traits.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { rowsOfGroup } from './few-tokens-plan.ts';
import { fewTokensPlan, fewTokensProgram } from './few-tokens-program.ts';
import { manyTokensProgram } from './many-tokens-program.ts';
import {
  type Activation,
  multiplyOnCpu,
  type ProjectionAttributes,
  type ProjectionInputs,
  projectOnHost,
} from './projection-host.ts';
import { multiplyOnWasm } from './projection-wasm.ts';

/** The weight of an RMSNorm, [columns], and what is added to the mean square under its root. */
export interface NormWeights {
  weight: Tensor;
  epsilon: number;
}

export interface ProjectionRequest {
  /** float32 [tokens, columns] */
  x: Tensor;
  matrix: PackedMatrix;
  paired?: PackedMatrix;
  activation?: Activation;
  norm?: NormWeights;
  bias?: Tensor;
  residual?: Tensor;
}

/** Bytes of the matrices. */
export const weightBytes = ({ words, scales, pairedWords, pairedScales }: ProjectionInputs) =>
  [...words, ...scales, ...pairedWords, ...pairedScales].reduce((sum, { shape }) => sum + shape[0]! * shape[1]! * 4, 0);

/** A projection kernel under a name of its own, so that the counters tell the places of the decoder apart. */
function defineProjection(name: string): (request: ProjectionRequest) => Tensor {
  const run = defineFusedKernel<ProjectionInputs, ProjectionAttributes>({
    name,
    bytesRead: weightBytes,
    webgpu: projectOnGpu,
    wasm: projectOnHost(multiplyOnWasm),
    cpu: projectOnHost(multiplyOnCpu),
  });
  return (request) => {
    const { x, matrix } = request;
    requireShape('x', x, [x.shape[0]!, matrix.columns]);
    const { inputs, attributes } = partsOfRequest(request, x.shape[0]!);
    return run({ x, ...inputs }, attributes)[0]!;
  };
}

/** What kernels are given of a request with so many tokens. Throws 'tensor-shape'. */
export function partsOfRequest(
  { matrix, paired, activation = 'silu', norm, bias, residual }: Omit<ProjectionRequest, 'x'>,
  tokens: number,
) {
  if (norm) requireShape('norm.weight', norm.weight, [matrix.columns]);
  if (bias) requireShape('bias', bias, [matrix.rows]);
  if (residual) requireShape('residual', residual, [tokens, matrix.rows]);
  const { format, rows, columns } = matrix;
  const tensorsOf = (source?: PackedMatrix) => ({
    words: source?.shards.map((shard) => shard.words) ?? [],
    scales: source?.shards.flatMap((shard) => shard.scales ?? []) ?? [],
  });
  const { words, scales } = tensorsOf(matrix);
  const { words: pairedWords, scales: pairedScales } = tensorsOf(paired);
  const shards = matrix.shards.map((shard) => ({ firstRow: shard.firstRow, rows: shard.rows }));
  return {
    inputs: { words, scales, pairedWords, pairedScales, normWeight: norm?.weight, bias, residual },
    attributes: { format, rows, columns, shards, epsilon: norm?.epsilon ?? 0, activation },
  };
}

/** Up to here a token is one more sum of an invocation, or one more workgroup; above, tiles in workgroup memory. */
export const FEW_TOKENS = 32;

/** The WebGPU body of the projection kernels: one dispatch per shard of the matrix. */
function projectOnGpu(call: KernelCall<ProjectionInputs, ProjectionAttributes, WebGPUBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const tokens = inputs.x.shape[0]!;
  const traits = traitsOf(backend);
  const tensor = backend.makeTensorInfo([tokens, attributes.rows], 'float32');
  const result = { name: 'result', type: 'f32', tensor } as const;
  attributes.shards.forEach((_, shard) => {
    const program =
      tokens <= FEW_TOKENS
        ? fewTokensProgram({ inputs, attributes, shard, tokens, traits }, { kind: 'rows', result })
        : manyTokensProgram(inputs, attributes, shard, tokens, result, traits);
    runProgram(backend, program);
  });
  return tensor;
}

function requireShape(argument: string, tensor: Tensor, expected: number[]): void {
  if (tensor.dtype === 'float32' && tensor.shape.join() === expected.join()) return;
  throw new KvlrError('tensor-shape', {
    message: `expected float32 [${expected}], got ${tensor.dtype} [${tensor.shape}]`,
    where: { argument },
    data: { expected, received: tensor.shape },
  });
}

const runNormProject = defineProjection('KvlrNormProject');

/**
 * RMSNorm and a projection in one kernel: W norm(x) + bias, float32 [tokens, rows] from x [tokens, columns]. For q, k and v at
 * once write their rows below each other into one matrix. One dispatch per shard of the matrix. Up to 16 tokens the weights
 * are read once for all of them, up to 32 twice; above that the product is tiled. Throws 'tensor-shape'.
 */
export function normProject(x: Tensor, norm: NormWeights, matrix: PackedMatrix, bias?: Tensor): Tensor {
  return runNormProject({ x, norm, matrix, bias });
}

const runProject = defineProjection('KvlrProject');

/** A projection alone: W x + bias, float32 [tokens, rows] from x [tokens, columns]. One dispatch per shard. Throws 'tensor-shape'. */
export function project(x: Tensor, matrix: PackedMatrix, bias?: Tensor): Tensor {
  return runProject({ x, matrix, bias });
}

const runProjectAdd = defineProjection('KvlrProjectAdd');

/**
 * A projection back into the stream: residual + W x + bias, float32 [tokens, rows] from x [tokens, columns]. The output
 * projection of attention and the down projection of the feed-forward block. One dispatch per shard. Throws 'tensor-shape'.
 */
export function projectAdd(x: Tensor, matrix: PackedMatrix, residual: Tensor, bias?: Tensor): Tensor {
  return runProjectAdd({ x, matrix, residual, bias });
}

const runProjectLogits = defineProjection('KvlrProjectLogits');

/**
 * The final norm and the logits of the vocabulary: head norm(x), float32 [tokens, vocabulary] from x [tokens, columns]. The
 * head may be the token embedding itself, and may have several shards: one dispatch for each. Throws 'tensor-shape'.
 */
export function projectLogits(x: Tensor, norm: NormWeights, head: PackedMatrix): Tensor {
  return runProjectLogits({ x, norm, matrix: head });
}

const runGreatest = defineFusedKernel<ProjectionInputs, ProjectionAttributes>({
  name: 'KvlrProjectGreatest',
  bytesRead: weightBytes,
  webgpu: greatestOnGpu,
  wasm: webgpuAlone(': elsewhere the host sees the logits'),
  cpu: webgpuAlone(': elsewhere the host sees the logits'),
});

/**
 * The final norm and the head on WebGPU, of whose logits each workgroup keeps the greatest alone: int32 [tokens, n, 2], the order of a
 * logit (`orderOf`) and its id, n times for each token. `sampleAndEmbed` takes the greatest of them. At most `FEW_TOKENS` tokens. Throws
 * 'tensor-shape', and 'unsupported-feature' on other backends.
 */
export function projectGreatest(x: Tensor, norm: NormWeights, head: PackedMatrix): Tensor {
  const tokens = x.shape[0]!;
  requireShape('x', x, [Math.min(tokens, FEW_TOKENS), head.columns]);
  const { inputs, attributes } = partsOfRequest({ matrix: head, norm }, tokens);
  return runGreatest({ x, ...inputs }, attributes)[0]!;
}

function greatestOnGpu(call: KernelCall<ProjectionInputs, ProjectionAttributes, WebGPUBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const tokens = inputs.x.shape[0]!;
  const traits = traitsOf(backend);
  const requests = attributes.shards.map((_, shard) => ({ inputs, attributes, shard, tokens, traits }));
  const groups = requests.map((request) =>
    Math.ceil(attributes.shards[request.shard]!.rows / rowsOfGroup(fewTokensPlan(request))),
  );
  const allGroups = groups.reduce((sum, count) => sum + count, 0);
  const tensor = backend.makeTensorInfo([tokens, allGroups, 2], 'int32');
  const result = { name: 'result', type: 'i32', tensor } as const;
  let firstGroup = 0;
  for (const [shard, request] of requests.entries()) {
    runProgram(backend, fewTokensProgram(request, { kind: 'greatest', result, firstGroup, allGroups }));
    firstGroup += groups[shard]!;
  }
  return tensor;
}

const runGatedFeedForward = defineProjection('KvlrGatedFeedForward');

/** The two matrices [intermediate, columns] of a gated feed-forward block, alike in format and shards. */
export interface GatedMatrices {
  gate: PackedMatrix;
  up: PackedMatrix;
  activation: Activation;
}

/**
 * The first half of a gated feed-forward block (Shazeer 2020) in one kernel: activation(gate y) * (up y) with y = RMSNorm(x),
 * float32 [tokens, intermediate] from x [tokens, columns]. One dispatch per shard. `projectAdd` is the other half.
 * Throws 'tensor-shape', also when gate and up differ.
 */
export function gatedFeedForward(x: Tensor, norm: NormWeights, { gate, up, activation }: GatedMatrices): Tensor {
  const describe = (matrix: PackedMatrix) =>
    `${matrix.format} [${matrix.rows}, ${matrix.columns}] in shards of ${matrix.shards.map(({ rows }) => rows)}`;
  if (describe(gate) !== describe(up)) {
    throw new KvlrError('tensor-shape', {
      message: `expected gate and up to be alike, got ${describe(gate)} and ${describe(up)}`,
      data: { gate: describe(gate), up: describe(up) },
    });
  }
  return runGatedFeedForward({ x, norm, matrix: gate, paired: up, activation });
}
