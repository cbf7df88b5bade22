import { KvlrError } from '@kvlr/core';
import { readParquet } from './parquet/read-parquet.ts';
import { readRows, readTexts, type TextDocument } from './text.ts';

/** The bytes of a text file, and its name or path: with the first bytes the extension says how to read it. */
export interface TextFileBytes {
  name: string;
  bytes: Uint8Array<ArrayBuffer>;
}

/** Bytes of a text file, unpacked, at most: JavaScript's strings end here. */
export const maxTextBytes = 2 ** 29 - 24;

export interface TextFileSettings {
  /** Bytes of a file, unpacked, at most. Default `maxTextBytes`. */
  maxBytes?: number;
}

/**
 * Documents of text files as they come: UTF-8 or UTF-16 with a mark at the beginning, plain or packed by gzip, and Parquet files with
 * a column `text`. What they hold is read as by `readTexts`.
 *
 * Throws what `readTexts` throws, 'file-malformed' for what is no text in these encodings, and 'unsupported-feature' for texts beyond
 * `maxBytes`.
 */
export async function readTextFiles(
  files: readonly TextFileBytes[],
  { maxBytes = maxTextBytes }: TextFileSettings = {},
): Promise<TextDocument[]> {
  const documents: TextDocument[] = [];
  for (const file of files) documents.push(...(await readTextFile(file, maxBytes)));
  return files.length === 0 ? readTexts([]) : documents;
}

async function readTextFile(file: TextFileBytes, maxBytes: number): Promise<TextDocument[]> {
  const { name } = file;
  const bytes = startsWith(file.bytes, [0x1f, 0x8b]) ? await unpack(file, maxBytes) : file.bytes;
  requireTextSize(name, bytes.length, maxBytes);
  if (!startsWith(bytes, ascii('PAR1'))) return readTexts([{ name, text: decodeText(name, bytes) }]);
  return readRows(name, await readDocumentRows(name, bytes));
}

/** The rows of a Parquet file, as far as documents have columns for them. */
async function readDocumentRows(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<unknown[]> {
  const { columns, rows } = await readParquet(name, bytes, ['text', 'source']);
  if (columns.includes('text')) return rows;
  const hint = 'Rename the column that holds the texts to text, or write the texts as JSON lines.';
  throw notText(name, 'a column text', `the columns ${columns.slice(0, 8).join(', ')}`, hint);
}

async function unpack({ name, bytes }: TextFileBytes, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'));
    for (const reader = stream.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      size += value.length;
      requireTextSize(name, size, maxBytes);
      chunks.push(value);
    }
  } catch (cause) {
    if (KvlrError.isInstance(cause)) throw cause;
    throw notText(
      name,
      'a whole file of gzip',
      reasonOf(cause),
      'The file was cut short or damaged: copy it again.',
      cause,
    );
  }
  const whole = new Uint8Array(size);
  let position = 0;
  for (const chunk of chunks) {
    whole.set(chunk, position);
    position += chunk.length;
  }
  return whole;
}

const binaryFormats: readonly [start: readonly number[], name: string][] = [
  [ascii('PK\u0003\u0004'), 'a zip archive'],
  [[0x28, 0xb5, 0x2f, 0xfd], 'a file packed by zstd'],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a], 'a file packed by xz'],
  [ascii('BZh'), 'a file packed by bzip2'],
  [ascii('%PDF'), 'a PDF'],
  [ascii('ARROW1'), 'an Arrow file'],
];

/** Text of UTF-8, or of UTF-16 behind its byte order mark. Throws 'file-malformed' rather than to guess. */
function decodeText(name: string, bytes: Uint8Array): string {
  const format = binaryFormats.find(([start]) => startsWith(bytes, start));
  if (format !== undefined) {
    throw notText(name, 'text', format[1], 'Unpack or convert it: plain text, JSON lines, gzip and Parquet are read.');
  }
  const encoding = startsWith(bytes, [0xff, 0xfe])
    ? 'utf-16le'
    : startsWith(bytes, [0xfe, 0xff])
      ? 'utf-16be'
      : 'utf-8';
  let text: string;
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch (cause) {
    const line = lineOf(new TextDecoder(encoding).decode(bytes), '\uFFFD');
    const hint = 'Convert the file to UTF-8; from Latin-1 for example by: iconv -f latin1 -t utf-8 OLD > NEW.';
    throw notText(name, `text in ${encoding.toUpperCase()}`, `other bytes in line ${line}`, hint, cause);
  }
  if (!text.includes('\0')) return text;
  const hint = 'This is no text, or UTF-16 without its mark: convert it to UTF-8, or take the zeros out.';
  throw notText(name, 'text', `a character of zeros in line ${lineOf(text, '\0')}`, hint);
}

function lineOf(text: string, character: string): number {
  return text.slice(0, text.indexOf(character)).split('\n').length;
}

/** Throws 'unsupported-feature' for a text beyond the limit. */
export function requireTextSize(file: string, size: number, maxBytes = maxTextBytes): void {
  if (size <= maxBytes) return;
  throw new KvlrError('unsupported-feature', {
    message: `expected a text of at most ${maxBytes} bytes, got ${size} or more`,
    hint: 'Take a part of it: calibration and evaluation need some hundred thousand tokens.',
    where: { file },
    data: { file, limit: maxBytes },
  });
}

function notText(file: string, expected: string, received: string, hint: string, cause?: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected ${expected}, got ${received}`,
    hint,
    where: { file },
    data: { file },
    cause,
  });
}

function startsWith(bytes: Uint8Array, start: readonly number[]): boolean {
  return start.every((byte, position) => bytes[position] === byte);
}

function ascii(text: string): number[] {
  return [...text].map((character) => character.charCodeAt(0));
}

function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
