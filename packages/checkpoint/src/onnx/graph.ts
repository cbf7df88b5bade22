import { KvlrError } from '@kvlr/core';
import { encodeFloats } from '../dtypes.ts';
import type { ByteSink } from '../files/files.ts';
import type { OnnxAttribute, OnnxFloatDtype, OnnxGraph, OnnxNode, OnnxTensor, OnnxValue } from './format.ts';

/** What a node has besides its operator and inputs. */
export interface NodeSettings {
  domain?: 'com.microsoft';
  attributes?: Record<string, OnnxAttribute>;
  /** Names of the outputs; by default one, called after the node. */
  outputs?: string[];
}

/** Collects a graph node by node; the name of a node's first output stands for its result. */
export class GraphBuilder {
  readonly #nodes: OnnxNode[] = [];
  readonly #inputs: OnnxValue[] = [];
  readonly #outputs: OnnxValue[] = [];
  readonly #tensors = new Map<string, OnnxTensor>();

  /** Adds a node and returns the name of its first output. */
  node(name: string, operator: string, inputs: string[], settings: NodeSettings = {}): string {
    const { domain = '', attributes = {}, outputs = [`${name}/output`] } = settings;
    this.#nodes.push({ operator, domain, name, inputs, outputs, attributes });
    return outputs[0]!;
  }

  input(value: OnnxValue): string {
    this.#inputs.push(value);
    return value.name;
  }

  output(value: OnnxValue): string {
    this.#outputs.push(value);
    return value.name;
  }

  /** Adds a constant and returns its name. */
  tensor(tensor: OnnxTensor): string {
    if (this.#tensors.has(tensor.name)) {
      throw new KvlrError('invalid-argument', {
        message: `expected tensors of different names, got ${tensor.name} twice`,
        data: { tensor: tensor.name },
      });
    }
    this.#tensors.set(tensor.name, tensor);
    return tensor.name;
  }

  /** A constant of one number. */
  scalar(name: string, dtype: OnnxFloatDtype, value: number): string {
    return this.tensor(plainTensor(name, dtype, [], async () => Float32Array.of(value)));
  }

  /** A constant of whole numbers: a scalar, or a list. */
  integers(name: string, value: number | number[]): string {
    const numbers = BigInt64Array.from([value].flat(), BigInt);
    const shape = typeof value === 'number' ? [] : [value.length];
    const write: OnnxTensor['write'] = (sink) => sink.write(new Uint8Array(numbers.buffer));
    return this.tensor({ name, dtype: 'I64', shape, write });
  }

  finish(): OnnxGraph {
    return {
      nodes: this.#nodes,
      inputs: this.#inputs,
      outputs: this.#outputs,
      tensors: [...this.#tensors.values()],
    };
  }
}

/** Numbers that are transposed and encoded at a time: beside the matrix itself, only so much is held. */
const numbersAtOnce = 1 << 22;
/** Side of the squares in which a matrix is transposed, so that both sides stay in the processor's cache. */
const tile = 32;

/** A tensor that is written in the order in which it is stored. */
export function plainTensor(
  name: string,
  dtype: OnnxFloatDtype,
  shape: number[],
  read: () => Promise<Float32Array>,
): OnnxTensor {
  const write = async (sink: ByteSink): Promise<void> => {
    const values = await read();
    for (let start = 0; start < values.length; start += numbersAtOnce) {
      await sink.write(encodeFloats(dtype, values.subarray(start, start + numbersAtOnce), name));
    }
  };
  return { name, dtype, shape, write };
}

/** A matrix stored as [out, in], written as [in, out]: ONNX multiplies rows by it. */
export function transposedTensor(
  name: string,
  dtype: OnnxFloatDtype,
  [outputs, inputs]: readonly [number, number],
  read: () => Promise<Float32Array>,
): OnnxTensor {
  const rowsAtOnce = Math.max(1, Math.floor(numbersAtOnce / outputs));
  const write = async (sink: ByteSink): Promise<void> => {
    const matrix = await read();
    for (let first = 0; first < inputs; first += rowsAtOnce) {
      const rows = Math.min(rowsAtOnce, inputs - first);
      await sink.write(encodeFloats(dtype, transposeColumns(matrix, outputs, inputs, first, rows), name));
    }
  };
  return { name, dtype, shape: [inputs, outputs], write };
}

/** Columns [first, first + count) of a row-major matrix, as rows. */
function transposeColumns(
  matrix: Float32Array,
  height: number,
  width: number,
  first: number,
  count: number,
): Float32Array {
  const transposed = new Float32Array(count * height);
  for (let top = 0; top < height; top += tile) {
    const bottom = Math.min(top + tile, height);
    for (let left = 0; left < count; left += tile) {
      const right = Math.min(left + tile, count);
      for (let row = top; row < bottom; row++) {
        const start = row * width + first;
        for (let column = left; column < right; column++) transposed[column * height + row] = matrix[start + column]!;
      }
    }
  }
  return transposed;
}
