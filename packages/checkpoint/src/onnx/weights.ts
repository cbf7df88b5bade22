import { type DecoderTensor, decoderTensors, type ModelSource, readTensor, type TensorRole } from '@kvlr/core';
import type { OnnxFloatDtype } from './format.ts';
import { type GraphBuilder, plainTensor, transposedTensor } from './graph.ts';
import { int4BlockSize, int4Tensors } from './int4.ts';

/** Types in which matrices are written. Q4_0: blocks of 32 numbers of 4 bits with a scale, as in GGUF; the embedding is F16 then. */
export type OnnxWeightDtype = OnnxFloatDtype | 'Q4_0';

/** The weights of a model as nodes and constants of a graph. Each constant is added when it is first asked for. */
export interface GraphWeights {
  /** Whether the decoder has a tensor of this role. */
  has(role: TensorRole, layer?: number): boolean;
  /** Name of the constant that holds a vector; scales of norms are whole. */
  vector(role: TensorRole, layer?: number): string;
  /** x W^T, and the bias where there is one. */
  product(path: string, input: string, role: TensorRole, layer?: number): string;
  /** Rows of the embedding for ids. */
  embed(ids: string): string;
}

/** Type of activations, vectors and cache beside weights of this type. */
export function activationDtype(dtype: OnnxWeightDtype): OnnxFloatDtype {
  return dtype === 'F16' ? 'F16' : 'F32';
}

export function graphWeights(model: ModelSource, graph: GraphBuilder, dtype: OnnxWeightDtype): GraphWeights {
  const float = activationDtype(dtype);
  const key = (role: TensorRole, layer?: number) => `${role} ${layer}`;
  const tensors = new Map(decoderTensors(model.shape).map((tensor) => [key(tensor.role, tensor.layer), tensor]));
  const added = new Set<string>();
  const once = (name: string, add: () => void): string => {
    if (!added.has(name)) add();
    added.add(name);
    return name;
  };
  // A tied head has no entry of its own.
  const tensorOf = (role: TensorRole, layer?: number): DecoderTensor =>
    tensors.get(key(role, layer)) ?? { ...tensors.get(key('embedding'))!, role: 'embedding' };
  const has = (role: TensorRole, layer?: number) => tensors.has(key(role, layer));

  const vector = (role: TensorRole, layer?: number): string => {
    const tensor = tensorOf(role, layer);
    const name = model.tensorName(role, layer);
    return once(name, () => graph.tensor(plainTensor(name, float, tensor.shape, () => readTensor(model, tensor))));
  };

  const matrix = (role: TensorRole, layer?: number): string => {
    const tensor = tensorOf(role, layer);
    const [outputs, inputs] = tensor.shape as [number, number];
    const name = model.tensorName(role, layer);
    const read = () => readTensor(model, tensor);
    return once(name, () => graph.tensor(transposedTensor(name, float, [outputs, inputs], read)));
  };

  const multiply = (path: string, input: string, role: TensorRole, layer?: number): string => {
    if (dtype !== 'Q4_0') return graph.node(`${path}/MatMul`, 'MatMul', [input, matrix(role, layer)]);
    const tensor = tensorOf(role, layer);
    const [outputs, inputs] = tensor.shape as [number, number];
    const { blocks, scales } = int4Tensors(model.tensorName(role, layer), [outputs, inputs], () =>
      readTensor(model, tensor),
    );
    const constants = [blocks, scales].map((constant) => once(constant.name, () => graph.tensor(constant)));
    return graph.node(`${path}/MatMulNBits`, 'MatMulNBits', [input, ...constants], {
      domain: 'com.microsoft',
      attributes: {
        ...{ K: { integer: inputs }, N: { integer: outputs } },
        ...{ bits: { integer: 4 }, block_size: { integer: int4BlockSize } },
      },
    });
  };

  return {
    has,
    vector,
    product(path, input, role, layer) {
      const product = multiply(path, input, role, layer);
      const bias = biasOf(role);
      return has(bias, layer) ? graph.node(`${path}/Add`, 'Add', [product, vector(bias, layer)]) : product;
    },
    embed(ids) {
      const node = '/model/embed_tokens/Gather';
      if (dtype === 'Q4_0') {
        const tensor = tensorOf('embedding');
        const name = model.tensorName('embedding');
        once(name, () => graph.tensor(plainTensor(name, 'F16', tensor.shape, () => readTensor(model, tensor))));
        const rows = graph.node(node, 'Gather', [name, ids]);
        return graph.node('/model/embed_tokens/Cast', 'Cast', [rows], { attributes: { to: { integer: 1 } } });
      }
      if (!model.shape.head.tied) return graph.node(node, 'Gather', [vector('embedding'), ids]);
      // Stored once, transposed: the rows are columns of the head.
      const axis = { integer: 1 };
      const columns = graph.node(node, 'Gather', [matrix('languageModelHead'), ids], { attributes: { axis } });
      const perm = { integers: [1, 2, 0] };
      return graph.node('/model/embed_tokens/Transpose', 'Transpose', [columns], { attributes: { perm } });
    },
  };
}

function biasOf(role: TensorRole): TensorRole {
  return role === 'languageModelHead' ? 'languageModelHeadBias' : (role.replace('Weight', 'Bias') as TensorRole);
}
