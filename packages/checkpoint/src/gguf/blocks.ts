import { KvlrError, withPlace } from '@kvlr/core';
import { decodeFloat16, decodeFloats, encodeFloat16, encodeFloats } from '../dtypes.ts';

/** The types in which kvlr writes the matrices of a GGUF file. */
export type GgufDtype = 'F32' | 'F16' | 'BF16' | 'Q8_0' | 'Q4_0';

/** How numbers of one type lie in a GGUF file: rows are cut into blocks, each of so many numbers and so many bytes. */
export interface GgufType {
  name: string;
  /** Number of the type in the tensor table. */
  code: number;
  blockSize: number;
  blockBytes: number;
  /** float32 of whole blocks; absent for what kvlr does not read. */
  decode?: (bytes: Uint8Array) => Float32Array;
  /** Blocks of float32 numbers, as llama.cpp makes them; absent for what kvlr does not write. */
  encode?: (values: Float32Array) => Uint8Array<ArrayBuffer>;
}

/** [code, name, numbers a block, bytes a block], from ggml-common.h of the ggml project. */
const known: [code: number, name: string, blockSize: number, blockBytes: number][] = [
  [0, 'F32', 1, 4],
  [1, 'F16', 1, 2],
  [2, 'Q4_0', 32, 18],
  [3, 'Q4_1', 32, 20],
  [6, 'Q5_0', 32, 22],
  [7, 'Q5_1', 32, 24],
  [8, 'Q8_0', 32, 34],
  [9, 'Q8_1', 32, 40],
  [10, 'Q2_K', 256, 84],
  [11, 'Q3_K', 256, 110],
  [12, 'Q4_K', 256, 144],
  [13, 'Q5_K', 256, 176],
  [14, 'Q6_K', 256, 210],
  [15, 'Q8_K', 256, 292],
  [16, 'IQ2_XXS', 256, 66],
  [17, 'IQ2_XS', 256, 74],
  [18, 'IQ3_XXS', 256, 98],
  [19, 'IQ1_S', 256, 50],
  [20, 'IQ4_NL', 32, 18],
  [21, 'IQ3_S', 256, 110],
  [22, 'IQ2_S', 256, 82],
  [23, 'IQ4_XS', 256, 136],
  [24, 'I8', 1, 1],
  [25, 'I16', 1, 2],
  [26, 'I32', 1, 4],
  [27, 'I64', 1, 8],
  [28, 'F64', 1, 8],
  [29, 'IQ1_M', 256, 56],
  [30, 'BF16', 1, 2],
  [34, 'TQ1_0', 256, 54],
  [35, 'TQ2_0', 256, 66],
  [39, 'MXFP4', 32, 17],
  [40, 'NVFP4', 64, 36],
];

const coders: Record<string, Pick<GgufType, 'decode' | 'encode'>> = {
  F32: { decode: (bytes) => decodeFloats('F32', bytes), encode: (values) => encodeFloats('F32', values) },
  F16: { decode: (bytes) => decodeFloats('F16', bytes), encode: (values) => encodeFloats('F16', values) },
  BF16: { decode: (bytes) => decodeFloats('BF16', bytes), encode: (values) => encodeFloats('BF16', values) },
  // d * (q - 8); the low halves of the 16 bytes hold the first 16 numbers, the high halves the others.
  Q4_0: {
    decode: inBlocks(32, 18, ({ half, bytes }, block, y, to) => {
      const d = half(block);
      for (let i = 0; i < 16; i++) {
        const q = bytes[block + 2 + i]!;
        y[to + i] = d * ((q & 15) - 8);
        y[to + i + 16] = d * ((q >> 4) - 8);
      }
    }),
    encode: encodeQ4_0,
  },
  // d * q + m
  Q4_1: {
    decode: inBlocks(32, 20, ({ half, bytes }, block, y, to) => {
      const d = half(block);
      const m = half(block + 2);
      for (let i = 0; i < 16; i++) {
        const q = bytes[block + 4 + i]!;
        y[to + i] = d * (q & 15) + m;
        y[to + i + 16] = d * (q >> 4) + m;
      }
    }),
  },
  // As Q4_0 with a fifth bit for each number, in 32 bits of their own.
  Q5_0: {
    decode: inBlocks(32, 22, ({ half, word, bytes }, block, y, to) => {
      const d = half(block);
      const high = word(block + 2);
      for (let i = 0; i < 16; i++) {
        const q = bytes[block + 6 + i]!;
        y[to + i] = d * (((q & 15) | (((high >>> i) & 1) << 4)) - 16);
        y[to + i + 16] = d * (((q >> 4) | (((high >>> (i + 16)) & 1) << 4)) - 16);
      }
    }),
  },
  Q5_1: {
    decode: inBlocks(32, 24, ({ half, word, bytes }, block, y, to) => {
      const d = half(block);
      const m = half(block + 2);
      const high = word(block + 4);
      for (let i = 0; i < 16; i++) {
        const q = bytes[block + 8 + i]!;
        y[to + i] = d * ((q & 15) | (((high >>> i) & 1) << 4)) + m;
        y[to + i + 16] = d * ((q >> 4) | (((high >>> (i + 16)) & 1) << 4)) + m;
      }
    }),
  },
  Q8_0: {
    decode: inBlocks(32, 34, ({ half, signed }, block, y, to) => {
      const d = half(block);
      for (let i = 0; i < 32; i++) y[to + i] = d * signed[block + 2 + i]!;
    }),
    encode: encodeQ8_0,
  },
  // Eight groups of 32, each with a scale and a minimum of 6 bits: (d * scale) * q - (dmin * minimum).
  Q4_K: {
    decode: inBlocks(256, 144, ({ half, bytes }, block, y, to) => {
      const d = half(block);
      const dmin = half(block + 2);
      for (let group = 0; group < 8; group++) {
        const { scale, minimum } = sixBits(bytes, block + 4, group);
        const shift = group % 2 === 0 ? 0 : 4;
        const quants = block + 16 + 32 * (group >> 1);
        for (let i = 0; i < 32; i++) {
          y[to + 32 * group + i] = d * scale * ((bytes[quants + i]! >> shift) & 15) - dmin * minimum;
        }
      }
    }),
  },
  // As Q4_K with a fifth bit for each number: bit g of byte i for number i of group g.
  Q5_K: {
    decode: inBlocks(256, 176, ({ half, bytes }, block, y, to) => {
      const d = half(block);
      const dmin = half(block + 2);
      for (let group = 0; group < 8; group++) {
        const { scale, minimum } = sixBits(bytes, block + 4, group);
        const shift = group % 2 === 0 ? 0 : 4;
        const quants = block + 48 + 32 * (group >> 1);
        for (let i = 0; i < 32; i++) {
          const low = (bytes[quants + i]! >> shift) & 15;
          const high = ((bytes[block + 16 + i]! >> group) & 1) << 4;
          y[to + 32 * group + i] = d * scale * (low | high) - dmin * minimum;
        }
      }
    }),
  },
  // Sixteen groups of 16 with a signed scale each: d * scale * (q - 32), q of 4 low bits and 2 high ones.
  Q6_K: {
    decode: inBlocks(256, 210, ({ half, bytes, signed }, block, y, to) => {
      const d = half(block + 208);
      for (let i = 0; i < 256; i++) {
        const chunk = i >> 7;
        const quarter = (i >> 5) & 3;
        const place = i & 31;
        const low = (bytes[block + 64 * chunk + 32 * (quarter & 1) + place]! >> (quarter < 2 ? 0 : 4)) & 15;
        const high = (bytes[block + 128 + 32 * chunk + place]! >> (2 * quarter)) & 3;
        y[to + i] = d * signed[block + 192 + (i >> 4)]! * ((low | (high << 4)) - 32);
      }
    }),
  },
};

const types: readonly GgufType[] = known.map(([code, name, blockSize, blockBytes]) => {
  return { code, name, blockSize, blockBytes, ...coders[name] };
});

/** The type with this number in the tensor table, if there is one. */
export function ggufTypeOfCode(code: number): GgufType | undefined {
  return types.find((type) => type.code === code);
}

/** The type of this name. */
export function ggufType(name: GgufDtype): GgufType {
  return types.find((type) => type.name === name)!;
}

/** Bytes of so many numbers, which are whole blocks. */
export function ggufByteLength({ blockSize, blockBytes }: GgufType, count: number): number {
  return (count / blockSize) * blockBytes;
}

/**
 * float32 numbers of whole blocks, with the products and sums of llama.cpp's own code, each rounded once.
 * Throws 'unsupported-feature' for a type that is not read, naming it.
 */
export function decodeGguf(type: GgufType, bytes: Uint8Array): Float32Array {
  if (type.decode !== undefined) return type.decode(bytes);
  throw unreadableType(type);
}

/** What stands for a tensor whose type is not read. */
export function unreadableType({ name }: GgufType): KvlrError {
  const readable = types.filter(({ decode }) => decode !== undefined).map((type) => type.name);
  return new KvlrError('unsupported-feature', {
    message: `expected weights of type ${readable.join(', ')}, got ${name}`,
    hint: `Convert the file first, for example with llama.cpp: llama-quantize --allow-requantize IN.gguf OUT.gguf Q8_0. Better still: take a file of this model in Q8_0 or F16.`,
    data: { received: name, known: readable },
  });
}

/** Blocks of float32 numbers. Throws 'numerical' on overflow, naming the tensor where it is given. */
export function encodeGgufFloats(dtype: GgufDtype, values: Float32Array, tensor?: string): Uint8Array<ArrayBuffer> {
  try {
    return ggufType(dtype).encode!(values);
  } catch (error) {
    throw tensor === undefined ? error : withPlace(error, { tensor });
  }
}

/** Views of the same bytes, for the decoders of single blocks. */
interface BlockReader {
  bytes: Uint8Array;
  signed: Int8Array;
  /** The binary16 number at a byte. */
  half(byte: number): number;
  /** The 32 bits at a byte. */
  word(byte: number): number;
}

/** A decoder of whole tensors from one of blocks: it reads the block that begins at byte `block` and fills `y` from `to` on. */
function inBlocks(
  blockSize: number,
  blockBytes: number,
  decodeBlock: (reader: BlockReader, block: number, y: Float32Array, to: number) => void,
): (bytes: Uint8Array) => Float32Array {
  return (bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const reader: BlockReader = {
      bytes,
      signed: new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength),
      half: (byte) => decodeHalf(view.getUint16(byte, true)),
      word: (byte) => view.getUint32(byte, true),
    };
    const blocks = bytes.length / blockBytes;
    const values = new Float32Array(blocks * blockSize);
    for (let block = 0; block < blocks; block++) {
      decodeBlock(reader, block * blockBytes, values, block * blockSize);
    }
    return values;
  };
}

let halves: Float32Array | undefined;

function decodeHalf(bits: number): number {
  halves ??= decodeFloat16(Uint16Array.from({ length: 65536 }, (_, pattern) => pattern));
  return halves[bits]!;
}

/** Scale and minimum of one of the eight groups of a K block, 6 bits each, packed into 12 bytes. */
function sixBits(bytes: Uint8Array, start: number, group: number): { scale: number; minimum: number } {
  const at = (place: number) => bytes[start + place]!;
  if (group < 4) return { scale: at(group) & 63, minimum: at(group + 4) & 63 };
  return {
    scale: (at(group + 4) & 15) | ((at(group - 4) >> 6) << 4),
    minimum: (at(group + 4) >> 4) | ((at(group) >> 6) << 4),
  };
}

/** Scale from the largest magnitude, 127 steps to each side. */
function encodeQ8_0(values: Float32Array): Uint8Array<ArrayBuffer> {
  return encodeBlocks(values, 34, (x, view, start) => {
    const largest = x.reduce((sum, value) => Math.max(sum, Math.abs(value)), 0);
    const d = Math.fround(largest / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    view.setUint16(start, encodeHalf(d), true);
    x.forEach((value, i) => {
      const scaled = Math.fround(value * inverse);
      view.setInt8(start + 2 + i, Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5));
    });
  });
}

/** Scale from the number of largest magnitude, which becomes -8. */
function encodeQ4_0(values: Float32Array): Uint8Array<ArrayBuffer> {
  return encodeBlocks(values, 18, (x, view, start) => {
    const largest = x.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const d = Math.fround(largest / -8);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    view.setUint16(start, encodeHalf(d), true);
    const quantised = (value: number) => Math.min(15, Math.trunc(Math.fround(Math.fround(value * inverse) + 8.5)));
    for (let i = 0; i < 16; i++) view.setUint8(start + 2 + i, quantised(x[i]!) | (quantised(x[i + 16]!) << 4));
  });
}

/** Encodes block after block of 32 numbers. */
function encodeBlocks(
  values: Float32Array,
  blockBytes: number,
  encodeBlock: (x: Float32Array, view: DataView, start: number) => void,
): Uint8Array<ArrayBuffer> {
  const blocks = values.length / 32;
  const bytes = new Uint8Array(blocks * blockBytes);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < blocks; block++) {
    encodeBlock(values.subarray(32 * block, 32 * (block + 1)), view, block * blockBytes);
  }
  return bytes;
}

const scratch = new Float32Array(1);

function encodeHalf(value: number): number {
  scratch[0] = value;
  return encodeFloat16(scratch)[0]!;
}
