/** Element types of safetensors files. Weights are F32, F16 or BF16; the others are copied untouched. */
export type TensorDtype =
  | 'F64'
  | 'F32'
  | 'F16'
  | 'BF16'
  | 'F8_E4M3'
  | 'F8_E5M2'
  | 'F8_E4M3FNUZ'
  | 'F8_E5M2FNUZ'
  | 'F8_E8M0'
  | 'F6_E2M3'
  | 'F6_E3M2'
  | 'F4'
  | 'C64'
  | 'I64'
  | 'I32'
  | 'I16'
  | 'I8'
  | 'U64'
  | 'U32'
  | 'U16'
  | 'U8'
  | 'BOOL';

export interface TensorInfo {
  name: string;
  dtype: TensorDtype;
  shape: number[];
  byteLength: number;
}

/** Port: named tensors that are read only when asked for. */
export interface TensorSource {
  list(): TensorInfo[];
  has(name: string): boolean;
  /** Throws KvlrError 'tensor-missing'. */
  info(name: string): TensorInfo;
  /** The stored bytes, little-endian, row-major. */
  readBytes(name: string): Promise<Uint8Array>;
  /** The values as float32, converted from F32, F16 or BF16. Throws 'non-finite' on NaN or infinity. */
  readFloat32(name: string): Promise<Float32Array>;
  /** Rows [from, to) of a matrix as `readFloat32` gives them, without reading the rest; absent where that cannot be. */
  readRows?(name: string, from: number, to: number): Promise<Float32Array>;
  close(): Promise<void>;
}

/** Rows [from, to) of a matrix, whether or not the source can read them alone. */
export async function readRows(tensors: TensorSource, name: string, from: number, to: number): Promise<Float32Array> {
  if (tensors.readRows !== undefined) return tensors.readRows(name, from, to);
  const width = countElements(tensors.info(name).shape.slice(1));
  return (await tensors.readFloat32(name)).subarray(from * width, to * width);
}

/** A tensor held in memory, row-major. */
export interface DenseTensor {
  shape: number[];
  data: Float32Array | Float64Array;
}

/** Named tensors and string metadata: what one safetensors file holds. Statistics and factors are kept in this form. */
export interface TensorBundle {
  metadata: Record<string, string>;
  tensors: Map<string, DenseTensor>;
}

/** Port: named tensors that are written one after another. Nothing is visible under the final name before `finish`. */
export interface TensorSink {
  write(name: string, dtype: TensorDtype, shape: number[], bytes: Uint8Array): Promise<void>;
  finish(): Promise<void>;
  abort(): Promise<void>;
}

/** How many numbers a tensor of this shape holds: 1 for a scalar, whose shape is empty. */
export function countElements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
