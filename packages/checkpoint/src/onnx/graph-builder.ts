import { KvlrError } from '@kvlr/core';
import type { OnnxAttribute, OnnxGraph, OnnxNode, OnnxTensor, OnnxValue } from './onnx-format.ts';

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
        message: `GraphBuilder: expected tensors of different names, got ${tensor.name} twice`,
        data: { tensor: tensor.name },
      });
    }
    this.#tensors.set(tensor.name, tensor);
    return tensor.name;
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
