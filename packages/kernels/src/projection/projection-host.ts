import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { KernelCall } from '../fused-kernel.ts';
import { allocateOnHost, type HostBackend, hostFloats, hostWords } from '../tensors.ts';
import { rowLayout, unpackRow, type WeightFormat } from '../weights/pack-weights.ts';

export type Activation = 'silu' | 'gelu' | 'gelu-tanh';

/**
 * What the projection kernels read. With y = x, or RMSNorm(x) when there is a norm weight:
 *   result = W y + bias + residual                 [tokens, rows], or
 *   result = activation(W y) * (paired W) y        [tokens, rows], when the matrix has a pair.
 */
export interface ProjectionInputs {
  /** [tokens, columns] */
  x: TensorInfo;
  /** Of every shard of the matrix. */
  words: TensorInfo[];
  /** Of every shard; empty for formats without scales. */
  scales: TensorInfo[];
  /** Of a second matrix of the same shape, format and shards; empty when there is none. */
  pairedWords: TensorInfo[];
  pairedScales: TensorInfo[];
  /** [columns] */
  normWeight?: TensorInfo;
  /** [rows] */
  bias?: TensorInfo;
  /** [tokens, rows] */
  residual?: TensorInfo;
}

export interface ProjectionAttributes {
  format: WeightFormat;
  rows: number;
  columns: number;
  /** First row and number of rows of every shard. */
  shards: { firstRow: number; rows: number }[];
  /** Added to the mean square under the root of RMSNorm. */
  epsilon: number;
  /** Of the product, when the matrix has a pair. */
  activation: Activation;
}

/** One product of a shard with all tokens: product[token, firstRow + r] = shard row r . staged[token]. */
export interface ProductTask {
  format: WeightFormat;
  columns: number;
  tokens: number;
  /** float32 [tokens, padded columns], zero in the padding. */
  staged: TensorInfo;
  words: TensorInfo;
  scales: TensorInfo | undefined;
  firstRow: number;
  shardRows: number;
  /** float32 [tokens, rows] */
  product: TensorInfo;
  rows: number;
}

type Multiply<Backend extends HostBackend> = (backend: Backend, task: ProductTask) => void;

/** The body of the projection kernels on wasm and cpu, which differ in how they multiply. */
export function projectOnHost<Backend extends HostBackend>(multiply: Multiply<Backend>) {
  return (call: KernelCall<ProjectionInputs, ProjectionAttributes, Backend>): TensorInfo => {
    const { inputs, attributes, backend } = call;
    const { format, rows, columns, shards, epsilon, activation } = attributes;
    const tokens = inputs.x.shape[0]!;
    const { paddedColumns } = rowLayout(format, columns);
    const shape = { tokens, columns, paddedColumns };
    const asItIs = inputs.normWeight === undefined && paddedColumns === columns;
    // All memory first: a growing heap would leave views behind.
    const result = allocateOnHost(backend, [tokens, rows], 'float32');
    const isPaired = inputs.pairedWords.length > 0;
    const paired = isPaired ? allocateOnHost(backend, [tokens, rows], 'float32') : undefined;
    const staged = asItIs ? inputs.x : allocateOnHost(backend, [tokens, paddedColumns], 'float32');
    const floats = (tensor: TensorInfo | undefined) => tensor && hostFloats(backend, tensor);
    if (!asItIs) {
      const weight = floats(inputs.normWeight);
      stageRows(hostFloats(backend, inputs.x), hostFloats(backend, staged), shape, weight && { weight, epsilon });
    }
    const product = (words: TensorInfo[], scales: TensorInfo[], into: TensorInfo) =>
      shards.forEach(({ firstRow, rows: shardRows }, shard) => {
        const matrix = { format, columns, rows, firstRow, shardRows, words: words[shard]!, scales: scales[shard] };
        multiply(backend, { ...matrix, tokens, staged, product: into });
      });
    product(inputs.words, inputs.scales, result);
    if (paired) {
      product(inputs.pairedWords, inputs.pairedScales, paired);
      gateRows(hostFloats(backend, result), hostFloats(backend, paired), activation);
      backend.disposeData(paired.dataId);
    }
    addToRows(hostFloats(backend, result), rows, floats(inputs.bias), floats(inputs.residual));
    if (!asItIs) backend.disposeData(staged.dataId);
    return result;
  };
}

/**
 * Copies rows [tokens, columns] into [tokens, padded columns], zero behind the last column, and applies RMSNorm
 * (Zhang & Sennrich 2019) where a norm weight is given.
 */
function stageRows(
  x: Float32Array,
  staged: Float32Array,
  shape: { tokens: number; columns: number; paddedColumns: number },
  norm?: { weight: Float32Array; epsilon: number },
): void {
  const { tokens, columns, paddedColumns } = shape;
  for (let token = 0; token < tokens; token++) {
    const from = token * columns;
    const to = token * paddedColumns;
    let factor = 1;
    if (norm) {
      let squares = 0;
      for (let column = 0; column < columns; column++) squares += x[from + column]! ** 2;
      factor = 1 / Math.sqrt(squares / columns + norm.epsilon);
    }
    for (let column = 0; column < columns; column++) {
      staged[to + column] = x[from + column]! * factor * (norm ? norm.weight[column]! : 1);
    }
    staged.fill(0, to + columns, to + paddedColumns);
  }
}

/** Plain loops: each row is unpacked once and meets every token. */
export function multiplyOnCpu(backend: HostBackend, task: ProductTask): void {
  const { format, columns, tokens, firstRow, shardRows, rows } = task;
  const { paddedColumns } = rowLayout(format, columns);
  const staged = hostFloats(backend, task.staged);
  const product = hostFloats(backend, task.product);
  const packed = {
    format,
    columns,
    rows: shardRows,
    words: format === 'f32' ? hostFloats(backend, task.words) : hostWords(backend, task.words),
    scales: task.scales ? hostWords(backend, task.scales) : new Int32Array(0),
  };
  const weights = new Float32Array(columns);
  for (let row = 0; row < shardRows; row++) {
    unpackRow(packed, row, weights);
    for (let token = 0; token < tokens; token++) {
      const start = token * paddedColumns;
      let sum = 0;
      for (let column = 0; column < columns; column++) sum += weights[column]! * staged[start + column]!;
      product[token * rows + firstRow + row] = sum;
    }
  }
}

/** Adds the bias [rows] and the residual [tokens, rows] to the products [tokens, rows] in place. */
function addToRows(result: Float32Array, rows: number, bias?: Float32Array, residual?: Float32Array): void {
  if (residual) {
    for (let place = 0; place < result.length; place++) result[place]! += residual[place]!;
  }
  if (bias) {
    for (let start = 0; start < result.length; start += rows) {
      for (let row = 0; row < rows; row++) result[start + row]! += bias[row]!;
    }
  }
}

/** result = activation(result) * paired, in place. */
function gateRows(result: Float32Array, paired: Float32Array, activation: Activation): void {
  const apply = activations[activation];
  for (let place = 0; place < result.length; place++) result[place] = apply(result[place]!) * paired[place]!;
}

/** The activation of one number. The exact GELU takes its error function from Abramowitz and Stegun 7.1.26 (error 1.5e-7). */
const activations: Record<Activation, (value: number) => number> = {
  silu: (value) => value / (1 + Math.exp(-value)),
  'gelu-tanh': (value) => 0.5 * value * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (value + 0.044715 * value ** 3))),
  gelu: (value) => {
    const a = Math.abs(value) * Math.SQRT1_2;
    const t = 1 / (1 + 0.3275911 * a);
    const polynomial = 0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)));
    const tail = t * polynomial * Math.exp(-a * a);
    return 0.5 * value * (value < 0 ? tail : 2 - tail);
  },
};
