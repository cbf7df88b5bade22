import { countElements, KvlrError, type TensorDtype, withPlace } from '@kvlr/core';

/** The element types in which weights are written. */
export type WeightDtype = 'F32' | 'F16' | 'BF16';

interface Dtype {
  /** Bytes of one element; below one where several share a byte. */
  size: number;
  /** Little-endian bytes as float32; absent for what is no weight. */
  decode?: (bytes: Uint8Array) => Float32Array;
  /** float32 as little-endian bytes, rounded to nearest even; absent for what kvlr does not write. */
  encode?: (values: Float32Array) => Uint8Array<ArrayBuffer>;
  /** What transformers calls it in config.json. */
  torchName?: string;
}

/** Every element type that a safetensors file may hold. */
const dtypes: Record<TensorDtype, Dtype> = {
  F64: { size: 8, decode: (bytes) => Float32Array.from(new Float64Array(alignedBuffer(bytes))) },
  F32: {
    size: 4,
    decode: (bytes) => new Float32Array(alignedBuffer(bytes)),
    encode: (values) => new Uint8Array(new Float32Array(values).buffer),
    torchName: 'float32',
  },
  F16: {
    size: 2,
    decode: (bytes) => decodeFloat16(new Uint16Array(alignedBuffer(bytes))),
    encode: (values) => new Uint8Array(encodeFloat16(values).buffer),
    torchName: 'float16',
  },
  BF16: {
    size: 2,
    decode: (bytes) => decodeBfloat16(new Uint16Array(alignedBuffer(bytes))),
    encode: (values) => new Uint8Array(encodeBfloat16(values).buffer),
    torchName: 'bfloat16',
  },
  F8_E4M3: { size: 1 },
  F8_E5M2: { size: 1 },
  F8_E4M3FNUZ: { size: 1 },
  F8_E5M2FNUZ: { size: 1 },
  F8_E8M0: { size: 1 },
  F6_E2M3: { size: 0.75 },
  F6_E3M2: { size: 0.75 },
  F4: { size: 0.5 },
  C64: { size: 8 },
  I64: { size: 8 },
  I32: { size: 4 },
  I16: { size: 2 },
  I8: { size: 1 },
  U64: { size: 8 },
  U32: { size: 4 },
  U16: { size: 2 },
  U8: { size: 1 },
  BOOL: { size: 1 },
};

/** Bytes of one element. */
export function dtypeSize(dtype: TensorDtype): number {
  return dtypes[dtype].size;
}

/** Bytes of a tensor. */
export function tensorByteLength(dtype: TensorDtype, shape: readonly number[]): number {
  return countElements(shape) * dtypeSize(dtype);
}

export function isTensorDtype(value: unknown): value is TensorDtype {
  return typeof value === 'string' && Object.hasOwn(dtypes, value);
}

/** Whether tensors of this type are read as numbers: F64, F32, F16, BF16. */
export function isWeightDtype(dtype: TensorDtype): boolean {
  return dtypes[dtype].decode !== undefined;
}

/** What transformers calls the type in config.json ('float16'); 'float32' for types in which kvlr writes no weights. */
export function torchDtypeName(dtype: TensorDtype): string {
  return dtypes[dtype].torchName ?? 'float32';
}

/** Little-endian bytes of F64, F32, F16 or BF16 numbers as float32. Throws 'unsupported-feature' for other types. */
export function decodeFloats(dtype: TensorDtype, bytes: Uint8Array): Float32Array {
  const { decode } = dtypes[dtype];
  if (decode !== undefined) return decode(bytes);
  throw new KvlrError('unsupported-feature', {
    message: `expected a weight of type F64, F32, F16 or BF16, got ${dtype}`,
    hint: 'Quantised weights are not read: use the unquantised checkpoint of this model.',
    data: { dtype },
  });
}

/** float32 as little-endian bytes, rounded to nearest even. Throws 'numerical' on overflow, naming the tensor where it is given. */
export function encodeFloats(dtype: WeightDtype, values: Float32Array, tensor?: string): Uint8Array<ArrayBuffer> {
  try {
    return dtypes[dtype].encode!(values);
  } catch (error) {
    throw tensor === undefined ? error : withPlace(error, { tensor });
  }
}

const scratchFloat = new Float32Array(1);
const scratchBits = new Uint32Array(scratchFloat.buffer);
let decodeTable: Float32Array | undefined;

/** IEEE 754 binary16 bit patterns to float32. Exact. */
export function decodeFloat16(halves: Uint16Array): Float32Array {
  decodeTable ??= Float32Array.from({ length: 65536 }, (_, bits) => halfValue(bits));
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) values[i] = decodeTable[halves[i]!]!;
  return values;
}

/**
 * float32 to IEEE 754 binary16, rounded to nearest, ties to even; subnormals kept.
 * Throws KvlrError 'numerical' where a value would become infinite (magnitude of 65520 and more) or is not finite.
 */
export function encodeFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const half = halfBits(values[i]!);
    if ((half & 0x7c00) === 0x7c00) {
      throw new KvlrError('numerical', {
        message: `expected magnitudes below 65520, got ${values[i]} at element ${i}`,
        hint: 'Write these weights as BF16 or F32.',
        data: { value: values[i], element: i },
      });
    }
    halves[i] = half;
  }
  return halves;
}

function halfValue(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function halfBits(value: number): number {
  scratchFloat[0] = value;
  const bits = scratchBits[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal halves are multiples of 2^-24: adding 0.5 aligns the float's last bit with that unit and rounds.
    scratchFloat[0] = Math.abs(value) + 0.5;
    return sign | (scratchBits[0]! - 0x3f000000);
  }
  const lastBit = (magnitude >>> 13) & 1;
  return sign | ((magnitude - 0x38000000 + 0xfff + lastBit) >>> 13);
}

/** bfloat16 bit patterns to float32. Exact. */
export function decodeBfloat16(patterns: Uint16Array): Float32Array {
  const bits = new Uint32Array(patterns.length);
  for (let i = 0; i < patterns.length; i++) bits[i] = patterns[i]! << 16;
  return new Float32Array(bits.buffer);
}

/**
 * float32 to bfloat16, rounded to nearest, ties to even.
 * Throws KvlrError 'numerical' where a value would become infinite or is not finite.
 */
export function encodeBfloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const floats = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const patterns = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const bits = floats[i]!;
    const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
    if ((bits & 0x7f800000) === 0x7f800000 || (rounded & 0x7f80) === 0x7f80) {
      throw new KvlrError('numerical', {
        message: `expected finite values within range, got ${values[i]} at element ${i}`,
        hint: 'Write these weights as F32.',
        data: { value: values[i], element: i },
      });
    }
    patterns[i] = rounded;
  }
  return patterns;
}

/** A buffer of its own, since a view into a file may start at any byte and typed arrays may not. */
export function alignedBuffer(bytes: Uint8Array): ArrayBuffer {
  if (bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength) return bytes.buffer;
  return new Uint8Array(bytes).buffer;
}

/** Index of the first NaN or infinity, if there is one. */
export function findNonFinite(values: Float32Array | Float64Array): number | undefined {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isFinite(values[i])) return i;
  }
  return undefined;
}

/** Checks that a tensor of this shape has as many numbers as it should. Throws 'tensor-shape'. */
export function requireLength(tensor: string, shape: readonly number[], length: number): void {
  const expected = countElements(shape);
  if (expected === length) return;
  throw new KvlrError('tensor-shape', {
    message: `expected ${expected} numbers for [${shape}], got ${length}`,
    where: { tensor },
    data: { tensor, shape, expected, received: length },
  });
}
