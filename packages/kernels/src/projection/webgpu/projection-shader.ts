import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { GpuProgram, GpuRead } from '../../webgpu/gpu-program.ts';
import type { ProjectionAttributes, ProjectionInputs } from '../projection.ts';
import { activationShader } from './activation-shader.ts';
import { type RowShader, rowShader } from './row-shader.ts';
import { type WeightShader, weightShader } from './weight-shader.ts';

/** The parts that the programs for few and for many tokens share, for one shard of the matrix. */
export interface ProjectionShader {
  matrices: WeightShader[];
  reads: GpuRead[];
  constants: GpuProgram['constants'];
  /** Readers of x, of the norm's weight and of the matrices, and `finish`. */
  code: string;
}

const matrixNames = ['first', 'second'] as const;

/**
 * `finish(token, row, first, second, squares)` writes one result: first and second are the products of a row of the
 * matrix, and of its pair, with x (times the norm's weight), squares is the sum of the squares of x. RMSNorm divides every
 * column by the same number, so that one division of the product does.
 */
export function projectionShader(
  inputs: ProjectionInputs,
  attributes: ProjectionAttributes,
  shard: number,
): ProjectionShader {
  const { x, normWeight, bias, residual, words, scales, pairedWords, pairedScales } = inputs;
  const { format, rows, columns, activation } = attributes;
  const sources: [TensorInfo, TensorInfo | undefined][] = [[words[shard]!, scales[shard]]];
  if (pairedWords.length > 0) sources.push([pairedWords[shard]!, pairedScales[shard]]);
  const matrices = sources.map((_, index) => weightShader(format, columns, matrixNames[index]!));
  const inputRows: [string, TensorInfo, RowShader][] = [['x', x, rowShader('x', columns)]];
  if (normWeight) inputRows.push(['norm', normWeight, rowShader('norm', columns)]);
  const value = sources.length > 1 ? 'activate(first * factor) * (second * factor)' : 'first * factor';
  const { firstRow, rows: shardRows } = attributes.shards[shard]!;
  return {
    matrices,
    reads: [
      ...inputRows.map(([name, tensor, { type }]): GpuRead => ({ name, type, tensor })),
      ...matrices.flatMap((matrix, index) => matrix.reads(...sources[index]!)),
      ...(bias ? [{ name: 'bias', type: 'f32', tensor: bias } as const] : []),
      ...(residual ? [{ name: 'residual', type: 'f32', tensor: residual } as const] : []),
    ],
    constants: { format, rows, columns, firstRow, shardRows, activation: sources.length > 1 ? activation : 'none' },
    code: `
      ${inputRows.map(([, , { code }]) => code).join('')}
      ${matrices.map(({ code }) => code).join('')}
      ${sources.length > 1 ? activationShader(activation) : ''}
      fn finish(token: i32, shardRow: i32, first: f32, second: f32, squares: f32) {
        let row = shardRow + firstRow;
        let factor = ${normWeight ? `inverseSqrt(squares / f32(columns) + uniforms.epsilon)` : '1.0'};
        result[token * rows + row] = ${value}${bias ? ' + bias[row]' : ''}${residual ? ' + residual[token * rows + row]' : ''};
      }`,
  };
}
