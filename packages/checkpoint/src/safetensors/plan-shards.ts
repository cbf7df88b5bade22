import { type TensorPlan, tensorByteLength } from './encode-safetensors.ts';

export interface Shard {
  file: string;
  tensors: TensorPlan[];
}

/**
 * Cuts tensors, in order, into files of at most `maxShardBytes` of weights (a larger tensor has a file to itself), named
 * as transformers names them.
 */
export function planShards(tensors: readonly TensorPlan[], maxShardBytes: number): Shard[] {
  const parts: TensorPlan[][] = [[]];
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
