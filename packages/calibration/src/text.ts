import { KvlrError, sha256, type Tokenizer } from '@kvlr/core';

/** A text that stands on its own: the model sees it from its beginning, with nothing before it. */
export interface TextDocument {
  /** What the text belongs to; results are reported for each source. */
  source: string;
  text: string;
}

/** The content of a text file, and its name or path: the extension says how to read it. */
export interface TextFile {
  name: string;
  text: string;
}

/**
 * Documents of text files. `.jsonl` and `.ndjson`: one document a line, {"text", "source"?}; blank lines and blank texts are
 * skipped. `.json`: the same, or a list of such documents or of texts, or one. Anything else is plain text, one document a file.
 * Without a source of its own, a document's source is the file's name without directories and extension. `readTextFiles` takes bytes.
 *
 * Throws 'text-empty' for a file without any text and 'file-malformed' for a line that is no such document, naming file and line.
 */
export function readTexts(files: readonly TextFile[]): TextDocument[] {
  const documents = files.flatMap((file) => {
    const text = file.text.replace(/^\uFEFF/, '');
    return withoutBlank(file.name, readText(file.name, text));
  });
  if (documents.length === 0) throw emptyText();
  return documents;
}

function readText(name: string, text: string): TextDocument[] {
  const plainName = name.replace(/\.gz$/i, '');
  if (/\.(jsonl|ndjson)$/i.test(plainName)) return readLines(name, text);
  return /\.json$/i.test(plainName) ? readJson(name, text) : [{ source: sourceOf(name), text }];
}

/** Documents of the rows of a table. */
export function readRows(name: string, rows: readonly unknown[]): TextDocument[] {
  return withoutBlank(
    name,
    rows.map((row, index) => toDocument(row, name, { row: index + 1 })),
  );
}

function withoutBlank(name: string, documents: readonly TextDocument[]): TextDocument[] {
  const filled = documents.filter((document) => document.text.trim().length > 0);
  if (filled.length === 0) throw emptyText(name);
  return filled;
}

/**
 * The documents as one stream of token ids: each one between what the tokenizer puts before a text and its (first)
 * end-of-sequence id, as far as there are such. Documents behind so many tokens as are enough are left out.
 */
export function encodeDocuments(
  documents: readonly TextDocument[],
  tokenizer: Tokenizer,
  enough = Number.POSITIVE_INFINITY,
): Int32Array {
  const after = tokenizer.endOfSequenceIds.slice(0, 1);
  const pieces: ArrayLike<number>[] = [];
  let length = 0;
  for (const { text } of documents) {
    if (length >= enough) break;
    for (const piece of [tokenizer.prefixIds, tokenizer.encode(text), after]) {
      pieces.push(piece);
      length += piece.length;
    }
  }
  const stream = new Int32Array(length);
  let position = 0;
  for (const piece of pieces) {
    stream.set(piece, position);
    position += piece.length;
  }
  return stream;
}

/**
 * SHA-256 of the documents, sources and order included, as 64 hexadecimal digits: the `textHash` of a provenance. Independent of
 * the files' format. Uses Web Crypto, which browsers offer on https and localhost.
 */
export function hashTexts(documents: readonly TextDocument[]): Promise<string> {
  const canonical = documents.map(({ source, text }) => JSON.stringify([source, text])).join('\n');
  return sha256(canonical);
}

function readLines(name: string, text: string): TextDocument[] {
  return text.split(/\r?\n/).flatMap((line, index) => {
    if (line.trim().length === 0) return [];
    const place = { line: index + 1 };
    try {
      return [toDocument(JSON.parse(line), name, place)];
    } catch (cause) {
      throw KvlrError.isInstance(cause) ? cause : malformed(name, place, 'JSON', 'something else', cause);
    }
  });
}

/** One JSON value, or one a line: what the name leaves open. */
function readJson(name: string, text: string): TextDocument[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return readLines(name, text);
  }
  if (!Array.isArray(value)) return [toDocument(value, name, { line: 1 })];
  return value.map((entry: unknown, index) => {
    return toDocument(typeof entry === 'string' ? { text: entry } : entry, name, { entry: index + 1 });
  });
}

type Place = { line: number } | { row: number } | { entry: number };

function toDocument(value: unknown, name: string, place: Place): TextDocument {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  const { text, source } = Object(value) as { text?: unknown; source?: unknown };
  const hasSource = source !== undefined && source !== null;
  if (isObject && typeof text === 'string' && (!hasSource || typeof source === 'string')) {
    return { source: hasSource ? source : sourceOf(name), text };
  }
  const fields = isObject ? Object.keys(value).slice(0, 8).join(', ') : '';
  const received = fields === '' ? 'something else' : `the fields ${fields}`;
  throw malformed(name, place, 'an object with a string "text" and maybe a string "source"', received);
}

function sourceOf(name: string): string {
  const base = name.split(/[/\\]/).pop() ?? name;
  return base.replace(/(.)\.gz$/i, '$1').replace(/(.)\.[^.]*$/, '$1');
}

function malformed(file: string, place: Place, expected: string, received: string, cause?: unknown): KvlrError {
  const [unit, number] = Object.entries(place)[0]!;
  return new KvlrError('file-malformed', {
    message: `expected ${expected} in ${unit} ${number}, got ${received}`,
    hint: 'Write one JSON object a line, such as {"text": "..."}, or name the file .txt if it is plain text.',
    where: { file },
    data: { file, ...place },
    cause,
  });
}

function emptyText(file?: string): KvlrError {
  return new KvlrError('text-empty', {
    message: file === undefined ? 'expected at least one file of text, got none' : 'expected text, got nothing',
    hint: 'Pass a file with text in it: plain, JSON lines or Parquet.',
    where: file === undefined ? {} : { file },
    data: { file },
  });
}
