import { KvlrError, type ModelSource, type TensorRole } from '@kvlr/core';
import { type Tensor, tensor } from '@tensorflow/tfjs-core';

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
  const values = await readTensor(source, role, layer, expected);
  if (expected.length < 2) return tensor(values, [...expected], 'float32');
  const [rows, columns] = expected.slice(-2) as [number, number];
  const transposed = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += rows * columns) {
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        transposed[start + column * rows + row] = values[start + row * columns + column]!;
      }
    }
  }
  return tensor(transposed, [...expected.slice(0, -2), columns, rows], 'float32');
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
      remedy: 'Check that config.json belongs to these weights.',
      data: { tensor: name, expected: [...expected], received: shape },
    });
  }
  return source.tensors.readFloat32(name);
}
