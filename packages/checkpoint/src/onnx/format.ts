import { tensorByteLength } from '../dtypes.ts';
import type { ByteSink } from '../files/files.ts';

/** Types of the numbers in weights, activations and cache. */
export type OnnxFloatDtype = 'F32' | 'F16';
type OnnxDtype = OnnxFloatDtype | 'U8' | 'I32' | 'I64';

/** TensorProto.DataType. */
const dtypeCodes: Record<OnnxDtype, number> = { F32: 1, U8: 2, I32: 6, I64: 7, F16: 10 };

/** What an input or output of the graph is; a dimension that is only known when it runs has a name. */
export interface OnnxValue {
  name: string;
  dtype: OnnxDtype;
  shape: (number | string)[];
}

export type OnnxAttribute = { integer: number } | { float: number } | { integers: number[] };

export interface OnnxNode {
  operator: string;
  /** Empty for the operators of ONNX itself. */
  domain: string;
  name: string;
  /** An empty name leaves an optional input or output out. */
  inputs: string[];
  outputs: string[];
  attributes: Record<string, OnnxAttribute>;
}

/** A constant of the graph, and how its bytes are written when its turn comes. */
export interface OnnxTensor {
  name: string;
  dtype: OnnxDtype;
  shape: number[];
  write(sink: ByteSink): Promise<void>;
}

export interface OnnxGraph {
  nodes: OnnxNode[];
  inputs: OnnxValue[];
  outputs: OnnxValue[];
  tensors: OnnxTensor[];
}

/** Where a tensor lies that is not in the model file itself. */
export interface ExternalPlace {
  file: string;
  offset: number;
}

function dtypeCode(dtype: OnnxDtype): number {
  return dtypeCodes[dtype];
}

export function onnxByteLength({ dtype, shape }: Pick<OnnxTensor, 'dtype' | 'shape'>): number {
  return tensorByteLength(dtype, shape);
}

/** NodeProto. */
export function encodeNode({ operator, domain, name, inputs, outputs, attributes }: OnnxNode): ProtobufWriter {
  const node = new ProtobufWriter();
  for (const input of inputs) node.string(1, input);
  for (const output of outputs) node.string(2, output);
  node.string(3, name).string(4, operator);
  for (const [key, attribute] of Object.entries(attributes)) node.message(5, encodeAttribute(key, attribute));
  return node.string(7, domain);
}

/** ValueInfoProto. */
export function encodeValue({ name, dtype, shape }: OnnxValue): ProtobufWriter {
  const dimensions = new ProtobufWriter();
  for (const size of shape) {
    const dimension = new ProtobufWriter();
    dimensions.message(1, typeof size === 'number' ? dimension.integer(1, size) : dimension.string(2, size));
  }
  const tensorType = new ProtobufWriter().integer(1, dtypeCode(dtype)).message(2, dimensions);
  return new ProtobufWriter().string(1, name).message(2, new ProtobufWriter().message(1, tensorType));
}

/** TensorProto up to its bytes, which follow inside the message, or lie in another file. */
export function encodeTensorHeader(tensor: OnnxTensor, place?: ExternalPlace): Uint8Array {
  const header = new ProtobufWriter();
  for (const size of tensor.shape) header.integer(1, size);
  header.integer(2, dtypeCode(tensor.dtype)).string(8, tensor.name);
  const byteLength = onnxByteLength(tensor);
  if (place === undefined) return header.header(9, byteLength).finish();
  const entries = { location: place.file, offset: String(place.offset), length: String(byteLength) };
  for (const [key, value] of Object.entries(entries)) {
    header.message(13, new ProtobufWriter().string(1, key).string(2, value));
  }
  return header.integer(14, 1).finish();
}

/** AttributeProto. */
function encodeAttribute(name: string, attribute: OnnxAttribute): ProtobufWriter {
  const message = new ProtobufWriter().string(1, name);
  if ('integer' in attribute) return message.integer(3, attribute.integer).integer(20, 2);
  if ('float' in attribute) return message.float(2, attribute.float).integer(20, 1);
  for (const value of attribute.integers) message.integer(8, value);
  return message.integer(20, 7);
}

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
