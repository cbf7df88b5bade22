/**
 * Protocol Buffers on the wire: fields of the kinds that ONNX uses, in a list of byte pieces.
 * Source: the encoding chapter of the Protocol Buffers documentation.
 */
export class ProtobufWriter {
  readonly #pieces: Uint8Array[] = [];
  #length = 0;

  /** Signed or not: negative numbers take ten bytes, as int64 has it. */
  integer(field: number, value: number | bigint): this {
    return this.#tag(field, 0).#append(varint(BigInt.asUintN(64, BigInt(value))));
  }

  float(field: number, value: number): this {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    return this.#tag(field, 5).#append(bytes);
  }

  string(field: number, text: string): this {
    return this.bytes(field, new TextEncoder().encode(text));
  }

  message(field: number, content: ProtobufWriter): this {
    return this.bytes(field, content.finish());
  }

  bytes(field: number, bytes: Uint8Array): this {
    return this.header(field, bytes.length).#append(bytes);
  }

  /** Announces a field of so many bytes that are written elsewhere, right behind this. */
  header(field: number, byteLength: number): this {
    return this.#tag(field, 2).#append(varint(BigInt(byteLength)));
  }

  finish(): Uint8Array {
    const whole = new Uint8Array(this.#length);
    let position = 0;
    for (const piece of this.#pieces) {
      whole.set(piece, position);
      position += piece.length;
    }
    return whole;
  }

  #tag(field: number, wireType: number): this {
    return this.#append(varint(BigInt(field * 8 + wireType)));
  }

  #append(piece: Uint8Array): this {
    this.#pieces.push(piece);
    this.#length += piece.length;
    return this;
  }
}

/** Seven bits a byte, the lowest first; the top bit says that more follow. */
function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
