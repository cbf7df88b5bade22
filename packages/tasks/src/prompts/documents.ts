import { readParquet } from '@kvlr/calibration';
import { KvlrError, Registry } from '@kvlr/core';
import type { TaskDocument } from './templates.ts';

/** A data file: its name says the format. */
export interface DataFile {
  name: string;
  bytes: Uint8Array<ArrayBuffer>;
}

/**
 * Rows of data files in their order: Parquet, JSON lines (.jsonl, .ndjson), or one list (.json).
 * Throws 'file-malformed' naming file and line, 'text-empty' for files without rows.
 */
export async function readDocuments(files: readonly DataFile[]): Promise<TaskDocument[]> {
  const documents: TaskDocument[] = [];
  for (const file of files) for (const row of await readRows(file)) documents.push(row);
  if (documents.length > 0) return documents;
  throw new KvlrError('text-empty', {
    message: 'expected documents, got none',
    hint: 'Name files with one document a row.',
    where: { file: files.map(({ name }) => name).join(', ') },
  });
}

async function readRows({ name, bytes }: DataFile): Promise<TaskDocument[]> {
  const parquet = [0x50, 0x41, 0x52, 0x31].every((byte, position) => bytes[position] === byte);
  if (parquet) return readParquetRows(name, bytes);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw malformed(name, 'JSON lines in UTF-8 or Parquet', 'other bytes', cause);
  }
  if (/\.json$/i.test(name) && text.trimStart().startsWith('[')) {
    const rows = parseJson(name, text, 'the file');
    if (Array.isArray(rows)) return rows.map((row, index) => toDocument(name, row, `entry ${index + 1}`));
    throw malformed(name, 'one list of documents', typeof rows);
  }
  return text.split('\n').flatMap((line, index) => {
    if (line.trim() === '') return [];
    const place = `line ${index + 1}`;
    return [toDocument(name, parseJson(name, line, place), place)];
  });
}

async function readParquetRows(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<TaskDocument[]> {
  const { rows } = await readParquet(name, bytes);
  return rows.map((row, index) => toDocument(name, toJson(row), `row ${index + 1}`));
}

/** 64-bit integers as numbers, where they fit. */
function toJson(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as unknown[], toJson);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, toJson(entry)]));
}

function parseJson(file: string, text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw malformed(file, `JSON in ${place}`, 'something else', cause);
  }
}

function toDocument(file: string, value: unknown, place: string): TaskDocument {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as TaskDocument;
  throw malformed(file, `an object in ${place}`, Array.isArray(value) ? 'a list' : String(value));
}

function malformed(file: string, expected: string, received: string, cause?: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected ${expected}, got ${received}`,
    hint: 'Write one JSON object a line (.jsonl), a list of them (.json), or a Parquet file.',
    where: { file },
    data: { file },
    cause,
  });
}

/** Changes a document before templates see it: what tasks of the harness do in Python (`process_docs`). */
export type DocumentProcessor = (document: TaskDocument) => TaskDocument;

/** Artefacts of the WikiHow part of HellaSwag are taken out, as lm_eval/tasks/hellaswag/utils.py does. */
function cleanHellaSwag(text: string): string {
  return text
    .trim()
    .replaceAll(' [title]', '. ')
    .replace(/\[.*?\]/g, '')
    .replaceAll('  ', ' ');
}

function capitalise(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1).toLowerCase();
}

function requireText(value: unknown, column: string): string {
  if (typeof value === 'string') return value;
  throw malformed('rows', `texts in the column ${column}`, value === null ? 'null' : typeof value);
}

/** What `process_docs` of a task may name. */
export const documentProcessors = new Registry<DocumentProcessor>({
  kind: 'document processor',
  entries: {
    hellaswag(document) {
      const text = (field: string) => requireText(document[field], field);
      const context = `${text('ctx_a')} ${capitalise(text('ctx_b'))}`;
      const endings = Array.isArray(document.endings) ? document.endings : [document.endings];
      return {
        ...document,
        query: cleanHellaSwag(`${text('activity_label')}: ${context}`),
        choices: endings.map((ending) => cleanHellaSwag(requireText(ending, 'endings'))),
        gold: Number(document.label),
      };
    },
  },
});
