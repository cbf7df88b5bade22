import { type ExpectedTensor, expectedTensors } from '@kvlr/checkpoint';
import type { DecoderShape, TensorRole } from '@kvlr/core';
import { packedByteLength, type WeightFormat } from '@kvlr/kernels';

const tables: readonly TensorRole[] = ['embedding', 'languageModelHead'];
/** Kept as float32 numbers besides vectors: they are small. */
const unpacked: readonly TensorRole[] = ['latentKeyEncoder', 'latentQueryEncoder', 'rebuiltKeyDecoder'];

/** Exact bytes of a model's weights on the device: packed matrices, float32 vectors. Without the table of rotations. */
export function weightBytes(shape: DecoderShape, format: WeightFormat): number {
  return expectedTensors(shape).reduce((sum, tensor) => sum + tensorBytes(tensor, format), 0);
}

/** Exact bytes of one tensor on the device. With int4, embedding and head are kept in int8. */
export function tensorBytes({ role, shape }: ExpectedTensor, format: WeightFormat): number {
  if (shape.length === 1 || unpacked.includes(role)) return 4 * shape.reduce((size, length) => size * length, 1);
  const [rows, columns] = shape as [number, number];
  return packedByteLength(tables.includes(role) && format === 'int4' ? 'int8' : format, rows, columns);
}
