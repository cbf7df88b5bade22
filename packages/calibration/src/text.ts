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
 * skipped. Anything else is plain text, one document a file. Without a source of its own, a document's source is the file's name
 * without directories and extension.
 *
 * Throws 'text-empty' for a file without any text and 'file-malformed' for a line that is no such document, naming file and line.
 */
export function readTexts(files: readonly TextFile[]): TextDocument[] {
  const documents = files.flatMap((file) => {
    const text = file.text.replace(/^\uFEFF/, '');
    const found = /\.(jsonl|ndjson)$/i.test(file.name)
      ? readLines(file.name, text)
      : [{ source: sourceOf(file.name), text }];
    const filled = found.filter((document) => document.text.trim().length > 0);
    if (filled.length === 0) throw emptyText(file.name);
    return filled;
  });
  if (documents.length === 0) throw emptyText();
  return documents;
}

/**
 * The documents as one stream of token ids: each one between what the tokenizer puts before a text and its (first)
 * end-of-sequence id, as far as there are such.
 */
export function encodeDocuments(documents: readonly TextDocument[], tokenizer: Tokenizer): Int32Array {
  const after = tokenizer.endOfSequenceIds.slice(0, 1);
  const pieces = documents.flatMap(({ text }) => [tokenizer.prefixIds, tokenizer.encode(text), after]);
  const stream = new Int32Array(pieces.reduce((length, piece) => length + piece.length, 0));
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
    const value = parseLine(name, line, index + 1);
    const { text, source } = Object(value) as { text?: unknown; source?: unknown };
    if (typeof text !== 'string' || (source !== undefined && typeof source !== 'string')) {
      throw malformedLine(name, index + 1, 'an object with a string "text" and maybe a string "source"');
    }
    return [{ source: source ?? sourceOf(name), text }];
  });
}

function parseLine(name: string, line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw malformedLine(name, number, 'JSON', cause);
  }
}

function sourceOf(name: string): string {
  const base = name.split(/[/\\]/).pop() ?? name;
  return base.replace(/(.)\.[^.]*$/, '$1');
}

function malformedLine(file: string, line: number, expected: string, cause?: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected ${expected} in line ${line}, got something else`,
    hint: 'Write one JSON object a line, such as {"text": "..."}, or name the file .txt if it is plain text.',
    where: { file },
    data: { file, line },
    cause,
  });
}

function emptyText(file?: string): KvlrError {
  return new KvlrError('text-empty', {
    message: file === undefined ? 'expected at least one file of text, got none' : 'expected text, got nothing',
    hint: 'Pass a file with text in it, .txt or .jsonl.',
    where: file === undefined ? {} : { file },
    data: { file },
  });
}
