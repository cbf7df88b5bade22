import { KvlrError } from '@kvlr/core';
import type { TextDocument, TextFile } from './text-document.ts';

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
  if (documents.length === 0) throw emptyText('no file');
  return documents;
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
    message: `readTexts: expected ${expected} in line ${line} of ${file}, got something else`,
    hint: 'Write one JSON object a line, such as {"text": "..."}, or name the file .txt if it is plain text.',
    data: { file, line },
    cause,
  });
}

function emptyText(file: string): KvlrError {
  return new KvlrError('text-empty', {
    message: `readTexts: expected text, got nothing in ${file}`,
    hint: 'Pass a file with text in it, .txt or .jsonl.',
    data: { file },
  });
}
