import { countElements, KvlrError, type KvlrErrorCode } from '@kvlr/core';
import { type GgufType, ggufByteLength, ggufTypeOfCode } from './blocks.ts';

/** What a GGUF header may claim before it is believed, and why no more. */
export const ggufLimits = {
  /** Tokens, scores and merges of the largest vocabularies, a quarter of a million tokens, take 20 MB. */
  headerBytes: 256 * 1024 * 1024,
  /** As for safetensors: experts stored one by one reach tens of thousands. */
  tensorCount: 100_000,
  /** Files in the wild have some dozens. */
  metadataCount: 10_000,
  /** ggml keeps no longer name. */
  nameBytes: 64,
  /** The format's own bound of keys. */
  keyBytes: 65_535,
  /** ggml's own bound of axes. */
  dimensions: 4,
  /** Entries of all lists together: six times the tokens, types, scores and merges of the largest vocabulary. */
  listEntries: 8_000_000,
  /** Lists of lists are in the format; deeper ones are in no file. */
  listDepth: 2,
  /** Of where tensors begin. Files have 32; a page of memory is the most that a loader could want. */
  alignment: 65_536,
} as const;

export type GgufMetadataValue = string | number | bigint | boolean | readonly GgufMetadataValue[];
export type GgufMetadata = ReadonlyMap<string, GgufMetadataValue>;

/** A tensor and where its bytes lie, counted from the start of the file. */
export interface GgufTensorEntry {
  name: string;
  type: GgufType;
  /** Row-major, [out, in] for matrices: the reverse of what the file says. */
  shape: number[];
  start: number;
  byteLength: number;
}

export interface GgufHeader {
  metadata: GgufMetadata;
  tensors: GgufTensorEntry[];
  /** Where metadata and tensor table end. */
  headerBytes: number;
}

/**
 * Reads metadata and tensor table from the first bytes of a GGUF file (version 2 or 3, little-endian; docs/gguf.md of the ggml
 * project) and checks every claim: counts, lengths, shapes, and that each tensor lies within the file and overlaps no other.
 * Undefined where `bytes`, a part of the file, end too early. Throws 'file-malformed', 'file-truncated', 'unsupported-feature'.
 */
export function parseGgufHeader(bytes: Uint8Array, fileSize: number, file: string): GgufHeader | undefined {
  try {
    return parse(new Cursor(bytes, fileSize, file));
  } catch (error) {
    if (error === moreBytesNeeded) return undefined;
    throw error;
  }
}

function parse(cursor: Cursor): GgufHeader {
  const magic = String.fromCharCode(...cursor.take(4));
  if (magic !== 'GGUF') throw cursor.malformed('a file that begins with GGUF', JSON.stringify(magic));
  const version = cursor.uint32();
  if (version === 0x02000000 || version === 0x03000000) {
    throw cursor.malformed('little-endian numbers', 'big-endian ones', 'unsupported-feature');
  }
  if (version !== 2 && version !== 3) throw cursor.malformed('version 2 or 3', version, 'unsupported-feature');
  const tensorCount = cursor.count('tensors', ggufLimits.tensorCount);
  const metadataCount = cursor.count('metadata entries', ggufLimits.metadataCount);

  const metadata = new Map<string, GgufMetadataValue>();
  for (let entry = 0; entry < metadataCount; entry++) {
    const key = cursor.name('a key', ggufLimits.keyBytes);
    if (metadata.has(key)) throw cursor.malformed('each key once', key);
    metadata.set(key, cursor.value(cursor.uint32(), 0));
  }
  const alignment = metadata.get('general.alignment') ?? 32;
  const isPowerOfTwo = typeof alignment === 'number' && alignment > 0 && Number.isInteger(Math.log2(alignment));
  if (!isPowerOfTwo || alignment > ggufLimits.alignment) {
    throw cursor.malformed(`an alignment of a power of two up to ${ggufLimits.alignment}`, String(alignment));
  }

  const relative = Array.from({ length: tensorCount }, () => readEntry(cursor));
  const dataStart = Math.ceil(cursor.position / alignment) * alignment;
  const tensors = relative.map((tensor) => ({ ...tensor, start: dataStart + tensor.start }));
  checkPlaces(tensors, alignment, cursor);
  return { metadata, tensors, headerBytes: cursor.position };
}

/** One line of the tensor table; `start` counts from the end of the table. */
function readEntry(cursor: Cursor): GgufTensorEntry {
  const name = cursor.name('the name of a tensor', ggufLimits.nameBytes);
  const dimensions = cursor.uint32();
  if (dimensions > ggufLimits.dimensions) {
    throw cursor.malformed(`a shape of at most ${ggufLimits.dimensions} axes for ${name}`, dimensions);
  }
  const shape = Array.from({ length: dimensions }, () => cursor.integer(`an axis of ${name}`)).reverse();
  const code = cursor.uint32();
  const type = ggufTypeOfCode(code);
  if (type === undefined)
    throw cursor.malformed(`a known type of tensor for ${name}`, `type ${code}`, 'unsupported-feature');
  const count = countElements(shape);
  if (!Number.isSafeInteger(count) || count === 0 || (shape.at(-1) ?? 1) % type.blockSize !== 0) {
    throw cursor.malformed(`rows of whole blocks of ${type.blockSize} for ${name} of type ${type.name}`, `[${shape}]`);
  }
  return { name, type, shape, start: cursor.integer(`the place of ${name}`), byteLength: ggufByteLength(type, count) };
}

function checkPlaces(tensors: readonly GgufTensorEntry[], alignment: number, cursor: Cursor): void {
  const inOrder = tensors.toSorted((a, b) => a.start - b.start);
  if (new Set(tensors.map(({ name }) => name)).size < tensors.length) {
    throw cursor.malformed('each tensor once', 'two of one name');
  }
  let end = 0;
  for (const { name, start, byteLength } of inOrder) {
    if (start % alignment !== 0) throw cursor.malformed(`tensors at multiples of ${alignment}`, `${name} at ${start}`);
    if (start < end) throw cursor.malformed('tensors that do not overlap', `${name} at ${start}, within another`);
    end = start + byteLength;
    if (end > cursor.fileSize) throw cursor.truncated(end);
  }
}

const moreBytesNeeded = Symbol('more bytes needed');

/** Numbers of the value types in the file, and how those of one size are read. */
const numberTypes: Record<number, [size: number, read: (view: DataView) => number | bigint | boolean]> = {
  0: [1, (view) => view.getUint8(0)],
  1: [1, (view) => view.getInt8(0)],
  2: [2, (view) => view.getUint16(0, true)],
  3: [2, (view) => view.getInt16(0, true)],
  4: [4, (view) => view.getUint32(0, true)],
  5: [4, (view) => view.getInt32(0, true)],
  6: [4, (view) => view.getFloat32(0, true)],
  7: [1, (view) => view.getUint8(0) !== 0],
  10: [8, (view) => asNumber(view.getBigUint64(0, true))],
  11: [8, (view) => asNumber(view.getBigInt64(0, true))],
  12: [8, (view) => view.getFloat64(0, true)],
};
const stringType = 8;
const arrayType = 9;

function asNumber(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Reads from the first bytes of a file. Throws `moreBytesNeeded` where they end before the file does. */
class Cursor {
  readonly fileSize: number;
  position = 0;
  #listEntries = 0;
  readonly #bytes: Uint8Array;
  readonly #file: string;
  readonly #text = new TextDecoder();

  constructor(bytes: Uint8Array, fileSize: number, file: string) {
    this.#bytes = bytes;
    this.fileSize = fileSize;
    this.#file = file;
  }

  take(count: number): Uint8Array {
    const end = this.position + count;
    if (end > this.fileSize) throw this.truncated(end);
    if (end > ggufLimits.headerBytes) {
      throw this.malformed(`a header of at most ${ggufLimits.headerBytes} bytes`, 'a longer one');
    }
    if (end > this.#bytes.length) throw moreBytesNeeded;
    this.position = end;
    return this.#bytes.subarray(end - count, end);
  }

  uint32(): number {
    return this.#number(4) as number;
  }

  /** A whole number of 64 bits that a double holds. */
  integer(what: string): number {
    const value = this.#number(10);
    if (typeof value === 'number') return value;
    throw this.malformed(`a size for ${what}`, String(value));
  }

  /** A number of things, at most `limit`. */
  count(what: string, limit: number): number {
    const count = this.integer(what);
    if (count > limit) throw this.malformed(`at most ${limit} ${what}`, count);
    return count;
  }

  name(what: string, limit: number): string {
    return this.#text.decode(this.take(this.count(`bytes of ${what}`, limit)));
  }

  value(type: number, depth: number): GgufMetadataValue {
    if (type === stringType) return this.#text.decode(this.take(this.integer('a text')));
    if (type !== arrayType) return this.#number(type);
    if (depth === ggufLimits.listDepth)
      throw this.malformed(`lists at most ${ggufLimits.listDepth} deep`, 'deeper ones');
    const elementType = this.uint32();
    const length = this.count('entries of all lists', ggufLimits.listEntries - this.#listEntries);
    this.#listEntries += length;
    return Array.from({ length }, () => this.value(elementType, depth + 1));
  }

  #number(type: number): number | bigint | boolean {
    const [size, read] = numberTypes[type] ?? [];
    if (size === undefined || read === undefined) throw this.malformed('a known type of value', `type ${type}`);
    const bytes = this.take(size);
    return read(new DataView(bytes.buffer, bytes.byteOffset, size));
  }

  malformed(expected: string, received: string | number, code: KvlrErrorCode = 'file-malformed'): KvlrError {
    return new KvlrError(code, {
      message: `expected ${expected}, got ${received}`,
      hint: code === 'file-malformed' ? 'The file is damaged: download or write it again.' : 'Convert the file anew.',
      where: { file: this.#file },
      data: { file: this.#file, position: this.position, expected, received },
    });
  }

  truncated(expectedBytes: number): KvlrError {
    return new KvlrError('file-truncated', {
      message: `expected ${expectedBytes} bytes, got ${this.fileSize}`,
      hint: 'The file was cut short: download or copy it again.',
      where: { file: this.#file },
      data: { file: this.#file, expected: expectedBytes, received: this.fileSize },
    });
  }
}
