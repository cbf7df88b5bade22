import { KvlrError } from '@kvlr/core';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { defineFusedKernel, type KernelCall } from '../fused-kernel.ts';
import { runProgram } from '../webgpu/run-program.ts';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { fewTokensProgram } from './few-tokens-program.ts';
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

interface ProjectionRequest {
  /** float32 [tokens, columns] */
  x: Tensor;
  matrix: PackedMatrix;
  paired?: PackedMatrix;
  activation?: Activation;
  norm?: NormWeights;
  bias?: Tensor;
  residual?: Tensor;
}

/** A projection kernel under a name of its own, so that the counters tell the places of the decoder apart. */
function defineProjection(name: string): (request: ProjectionRequest) => Tensor {
  const run = defineFusedKernel<ProjectionInputs, ProjectionAttributes>({
    name,
    bytesRead: ({ words, scales, pairedWords, pairedScales }) =>
      [...words, ...scales, ...pairedWords, ...pairedScales].reduce(
        (sum, { shape }) => sum + shape[0]! * shape[1]! * 4,
        0,
      ),
    webgpu: projectOnGpu,
    wasm: projectOnHost(multiplyOnWasm),
    cpu: projectOnHost(multiplyOnCpu),
  });
  return (request) => {
    const { x, matrix, paired, activation = 'silu', norm, bias, residual } = request;
    const { format, rows, columns } = matrix;
    const tokens = x.shape[0]!;
    requireShape('x', x, [tokens, columns]);
    if (norm) requireShape('norm.weight', norm.weight, [columns]);
    if (bias) requireShape('bias', bias, [rows]);
    if (residual) requireShape('residual', residual, [tokens, rows]);
    const tensorsOf = (source?: PackedMatrix) => ({
      words: source?.shards.map((shard) => shard.words) ?? [],
      scales: source?.shards.flatMap((shard) => shard.scales ?? []) ?? [],
    });
    const { words, scales } = tensorsOf(matrix);
    const { words: pairedWords, scales: pairedScales } = tensorsOf(paired);
    const shards = matrix.shards.map((shard) => ({ firstRow: shard.firstRow, rows: shard.rows }));
    const [result] = run(
      { x, words, scales, pairedWords, pairedScales, normWeight: norm?.weight, bias, residual },
      { format, rows, columns, shards, epsilon: norm?.epsilon ?? 0, activation },
    );
    return result!;
  };
}

/** Up to here a token is one more sum per invocation; above, tiles in workgroup memory. */
const fewTokens = 16;

/** The WebGPU body of the projection kernels: one dispatch per shard of the matrix. */
function projectOnGpu(call: KernelCall<ProjectionInputs, ProjectionAttributes, WebGPUBackend>): TensorInfo {
  const { inputs, attributes, backend } = call;
  const tokens = inputs.x.shape[0]!;
  const program = tokens <= fewTokens ? fewTokensProgram : manyTokensProgram;
  const result = backend.makeTensorInfo([tokens, attributes.rows], 'float32');
  attributes.shards.forEach((_, shard) => {
    runProgram(backend, program(inputs, attributes, shard, tokens, { name: 'result', type: 'f32', tensor: result }));
  });
  return result;
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
 * are read once for all of them; above that the product is tiled. Throws 'tensor-shape'.
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
