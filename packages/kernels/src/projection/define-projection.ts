import { KvlrError } from '@kvlr/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { defineFusedKernel } from '../register/define-fused-kernel.ts';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { multiplyOnCpu } from './host/multiply-on-cpu.ts';
import { projectOnHost } from './host/project-on-host.ts';
import type { Activation, ProjectionAttributes, ProjectionInputs } from './projection.ts';
import { multiplyOnWasm } from './wasm/multiply-on-wasm.ts';
import { projectOnGpu } from './webgpu/project-on-gpu.ts';

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
export function defineProjection(name: string, operation: string): (request: ProjectionRequest) => Tensor {
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
    requireShape(operation, 'x', x, [tokens, columns]);
    if (norm) requireShape(operation, 'norm.weight', norm.weight, [columns]);
    if (bias) requireShape(operation, 'bias', bias, [rows]);
    if (residual) requireShape(operation, 'residual', residual, [tokens, rows]);
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

function requireShape(operation: string, name: string, tensor: Tensor, expected: number[]): void {
  if (tensor.dtype === 'float32' && tensor.shape.join() === expected.join()) return;
  throw new KvlrError('tensor-shape', {
    message: `${operation}: expected ${name} to be float32 [${expected}], got ${tensor.dtype} [${tensor.shape}]`,
    data: { name, expected, received: tensor.shape },
  });
}
