import type { WeightDtype } from '../dtypes/encode-floats.ts';
import { tensorByteLength } from '../safetensors/encode-safetensors.ts';
import { ByteWriter } from './byte-writer.ts';
import { type GgufValue, ggufDtypeCodes, ggufValueCodes } from './gguf-format.ts';

/** Every tensor begins at a multiple of this. */
const ggufAlignment = 32;

export interface GgufTensorPlan {
  name: string;
  dtype: WeightDtype;
  /** Row-major, as everywhere in kvlr; GGUF writes it in reverse. */
  shape: number[];
}

/**
 * The first bytes of a GGUF file, version 3: metadata and tensor table, padded to the alignment. The tensors follow in
 * order, each padded to the alignment. Source: docs/gguf.md of the ggml project.
 */
export function encodeGgufHeader(
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: readonly GgufTensorPlan[],
): Uint8Array {
  const writer = new ByteWriter();
  writer.bytes(new TextEncoder().encode('GGUF'));
  writer.uint32(3);
  writer.uint64(tensors.length);
  writer.uint64(metadata.size);
  for (const [key, value] of metadata) {
    writer.string(key);
    writer.uint32(ggufValueCodes[value.type]);
    writer.value(value);
  }
  let offset = 0;
  for (const { name, dtype, shape } of tensors) {
    writer.string(name);
    writer.uint32(shape.length);
    for (const size of [...shape].reverse()) writer.uint64(size);
    writer.uint32(ggufDtypeCodes[dtype]);
    writer.uint64(offset);
    offset = alignGguf(offset + tensorByteLength(dtype, shape));
  }
  return writer.finish(ggufAlignment);
}

/** The next multiple of the alignment. */
export function alignGguf(position: number): number {
  return Math.ceil(position / ggufAlignment) * ggufAlignment;
}
