import type { TensorDtype } from '@kvlr/core';
import { tensorByteLength } from '../dtypes.ts';

/** A tensor to be written: what its header entry needs. */
export interface TensorPlan {
  name: string;
  dtype: TensorDtype;
  shape: number[];
}

/**
 * The first bytes of a safetensors file whose tensors follow in the given order: the length, and the JSON header padded
 * with spaces to a multiple of 8 so that the data is aligned.
 */
export function encodeSafetensorsHeader(tensors: readonly TensorPlan[], metadata: Record<string, string>): Uint8Array {
  const entries: [string, unknown][] = Object.keys(metadata).length > 0 ? [['__metadata__', metadata]] : [];
  let position = 0;
  for (const { name, dtype, shape } of tensors) {
    const end = position + tensorByteLength(dtype, shape);
    entries.push([name, { dtype, shape, data_offsets: [position, end] }]);
    position = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)));
  const paddedLength = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(8 + paddedLength).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(paddedLength), true);
  bytes.set(json, 8);
  return bytes;
}

/** A whole safetensors file in memory. */
export function encodeSafetensors(
  tensors: readonly (TensorPlan & { bytes: Uint8Array })[],
  metadata: Record<string, string> = {},
): Uint8Array {
  const header = encodeSafetensorsHeader(tensors, metadata);
  const size = tensors.reduce((sum, { bytes }) => sum + bytes.length, header.length);
  const file = new Uint8Array(size);
  file.set(header);
  let position = header.length;
  for (const { bytes } of tensors) {
    file.set(bytes, position);
    position += bytes.length;
  }
  return file;
}

export interface Shard<Tensor extends TensorPlan = TensorPlan> {
  file: string;
  tensors: Tensor[];
}

/**
 * Cuts tensors, in order, into files of at most `maxShardBytes` of weights (a larger tensor has a file to itself), named
 * as transformers names them.
 */
export function planShards<Tensor extends TensorPlan>(
  tensors: readonly Tensor[],
  maxShardBytes: number,
): Shard<Tensor>[] {
  const parts: Tensor[][] = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    const size = tensorByteLength(tensor.dtype, tensor.shape);
    if (bytes > 0 && bytes + size > maxShardBytes) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(tensor);
    bytes += size;
  }
  if (parts.length === 1) return [{ file: 'model.safetensors', tensors: parts[0]! }];
  const digits = (number: number): string => String(number).padStart(5, '0');
  return parts.map((part, position) => ({
    file: `model-${digits(position + 1)}-of-${digits(parts.length)}.safetensors`,
    tensors: part,
  }));
}

/** model.safetensors.index.json of several shards. */
export function shardIndex(shards: readonly Shard[]): Record<string, unknown> {
  const all = shards.flatMap(({ file, tensors }) => tensors.map((tensor) => ({ file, ...tensor })));
  return {
    metadata: { total_size: all.reduce((sum, { dtype, shape }) => sum + tensorByteLength(dtype, shape), 0) },
    weight_map: Object.fromEntries(all.map(({ name, file }) => [name, file])),
  };
}
