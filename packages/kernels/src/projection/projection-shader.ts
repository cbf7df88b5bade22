import type { GpuRead, GpuShape } from '../webgpu/program.ts';
import { type PieceWords, rowRead, rowShader, weightReads, weightShader } from '../weights/row-shaders.ts';
import type { Activation, ProjectionAttributes, ProjectionInputs } from './projection-host.ts';
import type { RowSource } from './row-source.ts';

/** What the programs for few and for many tokens both depend on, for one shard of the matrix. */
export function projectionShape(inputs: ProjectionInputs, attributes: ProjectionAttributes, shard: number): GpuShape {
  const { normWeight, bias, residual, pairedWords } = inputs;
  const { format, rows, columns, activation } = attributes;
  const { firstRow, rows: shardRows } = attributes.shards[shard]!;
  const activated = pairedWords.length > 0 ? activation : 'none';
  return [format, rows, columns, firstRow, shardRows, activated, !!normWeight, !!bias, !!residual];
}

/** Weights are read in pieces of so many words, 4 by default; `source` is read in place of x. */
interface ProjectionReading {
  pieceWords?: PieceWords;
  source?: RowSource | undefined;
}

/** Their bindings. */
export function projectionReads(
  inputs: ProjectionInputs,
  { format, columns }: ProjectionAttributes,
  shard: number,
  { source, pieceWords }: ProjectionReading = {},
): GpuRead[] {
  const { x, normWeight, bias, residual, words, scales, pairedWords, pairedScales } = inputs;
  const isPaired = pairedWords.length > 0;
  return [
    ...(source ? source.reads : [rowRead('x', x, columns)]),
    ...(normWeight ? [rowRead('norm', normWeight, columns)] : []),
    ...weightReads('first', format, words[shard]!, scales[shard], pieceWords),
    ...(isPaired ? weightReads('second', format, pairedWords[shard]!, pairedScales[shard], pieceWords) : []),
    ...(bias ? [{ name: 'bias', type: 'f32', tensor: bias } as const] : []),
    ...(residual ? [{ name: 'residual', type: 'f32', tensor: residual } as const] : []),
  ];
}

export interface ProjectionParts {
  /** Names of the matrix, and of its pair where there is one, for `weightShader`. */
  names: string[];
  constants: Record<string, number>;
  /** Readers of x, of the norm's weight and of the matrices, and `valueOf`. */
  code: string;
}

/**
 * `valueOf(token, row, first, second, squares)` is one result: first and second are the products of a row of the shard, and of its pair,
 * with x (times the norm's weight), squares is the sum of the squares of x. RMSNorm divides every column by the same number, so that
 * one division of the product does.
 */
export function projectionParts(
  inputs: ProjectionInputs,
  attributes: ProjectionAttributes,
  shard: number,
  { source, pieceWords }: ProjectionReading = {},
): ProjectionParts {
  const { normWeight, bias, residual, pairedWords } = inputs;
  const { format, rows, columns, activation } = attributes;
  const isPaired = pairedWords.length > 0;
  const names = isPaired ? ['first', 'second'] : ['first'];
  const value = isPaired ? 'activate(first * factor) * (second * factor)' : 'first * factor';
  const { firstRow, rows: shardRows } = attributes.shards[shard]!;
  return {
    names,
    constants: { rows, columns, firstRow, shardRows },
    code: `
      ${source ? source.code : rowShader('x', columns)}
      ${normWeight ? rowShader('norm', columns) : ''}
      ${weightShader(names, format, columns, pieceWords)}
      ${isPaired ? activationShader(activation) : ''}
      fn valueOf(token: i32, shardRow: i32, first: f32, second: f32, squares: f32) -> f32 {
        let row = shardRow + firstRow;
        let factor = ${normWeight ? `inverseSqrt(squares / f32(columns) + uniforms.epsilon)` : '1.0'};
        return ${value}${bias ? ' + bias[row]' : ''}${residual ? ' + residual[token * rows + row]' : ''};
      }`,
  };
}

const activationCode: Record<Activation, string> = {
  silu: 'return v / (1.0 + exp(-v));',
  // The argument is bounded: tanh of large numbers overflows on some devices.
  'gelu-tanh': 'return 0.5 * v * (1.0 + tanh(clamp(0.7978845608 * (v + 0.044715 * v * v * v), -12.0, 12.0)));',
  gelu: `
    let a = abs(v) * 0.70710678118;
    let t = 1.0 / (1.0 + 0.3275911 * a);
    let tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * exp(-a * a);
    return 0.5 * v * select(2.0 - tail, tail, v < 0.0);`,
};

/** `fn activate(v: f32) -> f32`. The error function of the exact GELU is Abramowitz and Stegun 7.1.26 (error 1.5e-7). */
function activationShader(activation: Activation): string {
  return `fn activate(v: f32) -> f32 { ${activationCode[activation]} }`;
}
