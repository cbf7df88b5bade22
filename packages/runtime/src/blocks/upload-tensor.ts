import { KvlrError, type ModelSource, type TensorRole } from '@kvlr/core';
import { type Tensor, tensor } from '@tensorflow/tfjs-core';
import { exchangeLastAxes } from './exchange-last-axes.ts';

/**
 * Reads the tensor in a role and puts it on the active backend with its last two axes exchanged, or unchanged where it
 * has only one axis. Throws 'tensor-shape' when the file's shape is not `expected` (written as it stands in the file).
 */
export async function uploadTransposed(
  source: ModelSource,
  role: TensorRole,
  layer: number | undefined,
  expected: readonly number[],
): Promise<Tensor> {
  return uploadExchanged(await readTensor(source, role, layer, expected), expected);
}

/** Puts values of a shape on the active backend with their last two axes exchanged, or unchanged where there is only one. */
export function uploadExchanged(values: Float32Array, shape: readonly number[]): Tensor {
  if (shape.length < 2) return tensor(values, [...shape], 'float32');
  const [rows, columns] = shape.slice(-2) as [number, number];
  return tensor(exchangeLastAxes(values, rows, columns), [...shape.slice(0, -2), columns, rows], 'float32');
}

/** The tensor's values as float32, after its shape has been checked. */
export async function readTensor(
  source: ModelSource,
  role: TensorRole,
  layer: number | undefined,
  expected: readonly number[],
): Promise<Float32Array> {
  const name = source.tensorName(role, layer);
  const { shape } = source.tensors.info(name);
  if (shape.length !== expected.length || shape.some((size, axis) => size !== expected[axis])) {
    throw new KvlrError('tensor-shape', {
      message: `loadModel: expected tensor ${name} of shape [${expected}], got [${shape}].`,
      hint: 'Check that config.json belongs to these weights.',
      data: { tensor: name, expected: [...expected], received: shape },
    });
  }
  return source.tensors.readFloat32(name);
}
