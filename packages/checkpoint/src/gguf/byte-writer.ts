import { type GgufValue, ggufValueCodes } from './gguf-format.ts';

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
