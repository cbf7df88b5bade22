import { KvlrError, type TensorInfo } from '@kvlr/core';
import { isTensorDtype, tensorByteLength } from '../dtypes.ts';
import { parseJson } from '../files/json.ts';

/** What a safetensors header may claim before it is believed. */
export const safetensorsLimits = {
  /** The bound of the format's reference reader. */
  headerBytes: 100_000_000,
  tensorCount: 100_000,
  dimensions: 8,
} as const;

/** A tensor and where its bytes lie, counted from the start of the file. */
export interface TensorEntry extends TensorInfo {
  start: number;
  end: number;
}

export interface SafetensorsHeader {
  metadata: Record<string, string>;
  tensors: TensorEntry[];
}

/**
 * Length of the JSON header from the first 8 bytes of a file of `fileSize` bytes, checked against the file and the
 * limits before anything of that size is read. Throws 'file-truncated' or 'file-malformed'.
 */
export function safetensorsHeaderLength(prefix: Uint8Array, fileSize: number, file: string): number {
  if (fileSize < 8 || prefix.length < 8) throw truncated(file, 8, fileSize);
  const length = Number(new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true));
  if (length > safetensorsLimits.headerBytes || length < 2) {
    throw malformed(file, `a header of 2 to ${safetensorsLimits.headerBytes} bytes`, `one of ${length}`);
  }
  if (8 + length > fileSize) throw truncated(file, 8 + length, fileSize);
  return length;
}

/**
 * Reads the JSON header of a safetensors file and checks every claim in it: types, shapes, byte counts, and that the
 * tensors cover the file without gap or overlap. `headerBytes` are the bytes after the 8-byte length.
 */
export function parseSafetensorsHeader(headerBytes: Uint8Array, fileSize: number, file: string): SafetensorsHeader {
  const parsed = parseJsonObject(headerBytes, file);
  const dataStart = 8 + headerBytes.length;
  const { __metadata__: rawMetadata, ...rawTensors } = parsed;
  const rawEntries = Object.entries(rawTensors);
  if (rawEntries.length > safetensorsLimits.tensorCount) {
    throw malformed(file, `at most ${safetensorsLimits.tensorCount} tensors`, String(rawEntries.length));
  }
  const tensors = rawEntries.map(([name, raw]) => parseEntry(name, raw, dataStart, file));
  checkCoverage(tensors, dataStart, fileSize, file);
  return { metadata: parseMetadata(rawMetadata, file), tensors };
}

function parseJsonObject(bytes: Uint8Array, file: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes), { refuseEqualKeys: true }).value;
  } catch (cause) {
    throw malformed(file, 'a header of UTF-8 JSON', cause instanceof Error ? cause.message : String(cause));
  }
  if (!isObject(parsed)) throw malformed(file, 'a header that is a JSON object', JSON.stringify(parsed).slice(0, 40));
  return parsed;
}

function parseMetadata(raw: unknown, file: string): Record<string, string> {
  if (raw === undefined || raw === null) return {};
  if (!isObject(raw) || Object.values(raw).some((value) => typeof value !== 'string')) {
    throw malformed(file, '__metadata__ to map strings to strings', JSON.stringify(raw).slice(0, 80));
  }
  return raw as Record<string, string>;
}

function parseEntry(name: string, raw: unknown, dataStart: number, file: string): TensorEntry {
  if (!isObject(raw)) throw malformed(file, `an object for tensor ${name}`, JSON.stringify(raw).slice(0, 40));
  const { dtype, shape, data_offsets: offsets } = raw;
  if (!isTensorDtype(dtype)) throw malformed(file, `a known dtype for tensor ${name}`, JSON.stringify(dtype), name);
  if (!Array.isArray(shape) || shape.length > safetensorsLimits.dimensions || !shape.every(isCount)) {
    const expected = `a shape of at most ${safetensorsLimits.dimensions} whole numbers for tensor ${name}`;
    throw malformed(file, expected, JSON.stringify(shape)?.slice(0, 80) ?? 'none', name);
  }
  const [begin, end] = Array.isArray(offsets) && offsets.length === 2 ? (offsets as unknown[]) : [];
  if (!isCount(begin) || !isCount(end) || begin > end) {
    const received = JSON.stringify(offsets)?.slice(0, 80) ?? 'none';
    throw malformed(file, `data_offsets [begin, end] for tensor ${name}`, received, name);
  }
  const byteLength = tensorByteLength(dtype, shape);
  if (end - begin !== byteLength) {
    throw malformed(file, `${byteLength} bytes for tensor ${name} (${dtype} [${shape}])`, String(end - begin), name);
  }
  return { name, dtype, shape, byteLength, start: dataStart + begin, end: dataStart + end };
}

function checkCoverage(tensors: TensorEntry[], dataStart: number, fileSize: number, file: string): void {
  const inOrder = [...tensors].sort((a, b) => a.start - b.start || a.end - b.end);
  let position = dataStart;
  for (const tensor of inOrder) {
    if (tensor.start !== position) {
      const fault = tensor.start < position ? 'an overlap with its neighbour' : 'a gap before it';
      throw malformed(
        file,
        `tensor ${tensor.name} to begin at byte ${position}`,
        `${tensor.start}, ${fault}`,
        tensor.name,
      );
    }
    position = tensor.end;
  }
  if (position > fileSize) throw truncated(file, position, fileSize);
  if (position < fileSize) throw malformed(file, `the tensors to end at byte ${fileSize}`, `byte ${position}`);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function malformed(file: string, expected: string, received: string, tensor?: string): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected ${expected}, got ${received}`,
    where: { file, ...(tensor !== undefined && { tensor }) },
    hint: 'The file is damaged or not a safetensors file: download or export it again.',
    data: { file, tensor, expected, received },
  });
}

function truncated(file: string, expectedBytes: number, receivedBytes: number): KvlrError {
  return new KvlrError('file-truncated', {
    message: `expected at least ${expectedBytes} bytes, got ${receivedBytes}`,
    where: { file },
    hint: 'The file was cut short: download or copy it again.',
    data: { file, expected: expectedBytes, received: receivedBytes },
  });
}
