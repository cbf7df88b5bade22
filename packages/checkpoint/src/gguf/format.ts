import { countElements } from '@kvlr/core';
import { type GgufDtype, ggufByteLength, ggufType } from './blocks.ts';

/** The metadata values that kvlr writes, a part of what GGUF knows. */
export type GgufValue =
  | { type: 'string'; value: string }
  | { type: 'uint32'; value: number }
  | { type: 'float32'; value: number }
  | { type: 'bool'; value: boolean }
  | { type: 'array'; of: 'string'; value: readonly string[] }
  | { type: 'array'; of: 'int32' | 'float32'; value: readonly number[] };

/** Numbers of the value types in the file. */
const ggufValueCodes = { uint32: 4, int32: 5, float32: 6, bool: 7, string: 8, array: 9 } as const;

/** general.file_type: what most of the weights are. */
export const ggufFileTypes: Record<GgufDtype, number> = { F32: 0, F16: 1, BF16: 32, Q8_0: 7, Q4_0: 2 };

/** Every tensor begins at a multiple of this. */
const ggufAlignment = 32;

export interface GgufTensorPlan {
  name: string;
  dtype: GgufDtype;
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
    writer.uint32(ggufType(dtype).code);
    writer.uint64(offset);
    offset = alignGguf(offset + ggufByteLength(ggufType(dtype), countElements(shape)));
  }
  return writer.finish(ggufAlignment);
}

/** The next multiple of the alignment. */
export function alignGguf(position: number): number {
  return Math.ceil(position / ggufAlignment) * ggufAlignment;
}

/** Little-endian numbers, texts and GGUF values, in a buffer that grows by doubling. */
export class ByteWriter {
  #buffer = new Uint8Array(1 << 16);
  #view = new DataView(this.#buffer.buffer);
  #length = 0;

  bytes(bytes: Uint8Array): void {
    const start = this.#take(bytes.length);
    this.#buffer.set(bytes, start);
  }

  uint32(value: number): void {
    const start = this.#take(4);
    this.#view.setUint32(start, value, true);
  }

  float32(value: number): void {
    const start = this.#take(4);
    this.#view.setFloat32(start, value, true);
  }

  int32(value: number): void {
    const start = this.#take(4);
    this.#view.setInt32(start, value, true);
  }

  uint64(value: number): void {
    const start = this.#take(8);
    this.#view.setBigUint64(start, BigInt(value), true);
  }

  string(text: string): void {
    const encoded = new TextEncoder().encode(text);
    this.uint64(encoded.length);
    this.bytes(encoded);
  }

  value(value: GgufValue): void {
    switch (value.type) {
      case 'string':
        this.string(value.value);
        break;
      case 'uint32':
        this.uint32(value.value);
        break;
      case 'float32':
        this.float32(value.value);
        break;
      case 'bool':
        this.bytes(Uint8Array.of(value.value ? 1 : 0));
        break;
      case 'array':
        this.uint32(ggufValueCodes[value.of]);
        this.uint64(value.value.length);
        if (value.of === 'string') for (const text of value.value) this.string(text);
        else if (value.of === 'float32') for (const number of value.value) this.float32(number);
        else for (const number of value.value) this.int32(number);
    }
  }

  /** What was written, padded with zeros to a multiple of `alignment`. */
  finish(alignment: number): Uint8Array {
    this.bytes(new Uint8Array((alignment - (this.#length % alignment)) % alignment));
    return this.#buffer.subarray(0, this.#length);
  }

  /** Reserves room and returns where it begins. Buffer and view may be new afterwards. */
  #take(count: number): number {
    const start = this.#length;
    this.#length += count;
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(2 * this.#buffer.length, this.#length));
      larger.set(this.#buffer.subarray(0, start));
      this.#buffer = larger;
      this.#view = new DataView(larger.buffer);
    }
    return start;
  }
}
