import { KvlrError } from '@kvlr/core';
import { type ParsedJson, parseJson } from './json.ts';

/** Port: the files of one checkpoint, read by byte range. Names are relative paths with forward slashes. */
export interface CheckpointFiles {
  /** Where the files lie, for people: a path, a URL, 'memory'. */
  readonly location: string;
  /** Names of the files that can be read. */
  list(): Promise<string[]>;
  /** Size in bytes. Throws KvlrError 'file-missing'. */
  size(name: string): Promise<number>;
  /** Bytes [start, end) of a file; all of it by default. Throws 'file-missing', and 'file-truncated' past the end. */
  read(name: string, start?: number, end?: number): Promise<Uint8Array>;
  /** Frees what is held open. */
  close?(): Promise<void>;
}

/** Port: takes bytes from front to back. */
export interface ByteSink {
  write(bytes: Uint8Array): Promise<void>;
}

/** Checkpoint files held in memory, by name. Strings are stored as UTF-8. */
export function createMemoryFiles(
  contents: Readonly<Record<string, Uint8Array | string>>,
  location = 'memory',
): CheckpointFiles {
  const files = new Map(
    Object.entries(contents).map(([name, content]) => [
      name,
      typeof content === 'string' ? new TextEncoder().encode(content) : content,
    ]),
  );
  const contentOf = (name: string): Uint8Array => {
    const bytes = files.get(name);
    if (bytes === undefined) throw fileMissing(location, name);
    return bytes;
  };
  return {
    location,
    list: async () => [...files.keys()],
    size: async (name) => contentOf(name).length,
    read: async (name, start, end) => sliceBytes(location, name, contentOf(name), start, end),
  };
}

/** What is used of the browser's `File`. */
export interface BrowserFile {
  readonly name: string;
  readonly size: number;
  /** Path below the chosen folder, folder name first; empty when single files were chosen. */
  readonly webkitRelativePath?: string;
  slice(start: number, end: number): { arrayBuffer(): Promise<ArrayBuffer> };
}

/** Checkpoint files from a file input or a dropped folder; each read takes only its byte range from disk. */
export function createBrowserFiles(chosen: Iterable<BrowserFile>, location = 'chosen files'): CheckpointFiles {
  const files = new Map<string, BrowserFile>();
  for (const file of chosen) {
    const path = file.webkitRelativePath ?? '';
    files.set(path === '' ? file.name : path.slice(path.indexOf('/') + 1), file);
  }
  const fileOf = (name: string): BrowserFile => {
    const file = files.get(name);
    if (file === undefined) throw fileMissing(location, name);
    return file;
  };
  return {
    location,
    list: async () => [...files.keys()],
    size: async (name) => fileOf(name).size,
    async read(name, start = 0, end = fileOf(name).size) {
      const file = fileOf(name);
      if (end > file.size || start > end) throw fileTruncated(location, name, end, file.size);
      return new Uint8Array(await file.slice(start, end).arrayBuffer());
    },
  };
}

/** Beyond this many bytes a JSON file is a vocabulary: long, flat, and nothing of it is written again. */
const nativeJsonBytes = 1_000_000;

/** Reads a JSON file that holds an object. Throws 'file-missing' or 'file-malformed', naming the file. */
export async function readJsonObject(files: CheckpointFiles, name: string): Promise<Record<string, unknown>> {
  return (await readSpelledJson(files, name)).value as Record<string, unknown>;
}

/** `readJsonObject` with the spelling of its numbers, for files that are written again. */
export async function readSpelledJson(files: CheckpointFiles, name: string): Promise<ParsedJson> {
  const bytes = await files.read(name);
  const text = new TextDecoder().decode(bytes);
  requireNoPointer(files.location, name, text);
  let parsed: ParsedJson;
  try {
    parsed = bytes.length > nativeJsonBytes ? { value: JSON.parse(text), spellings: new Map() } : parseJson(text);
  } catch (cause) {
    throw malformed(files.location, name, cause instanceof Error ? cause.message : String(cause), cause);
  }
  const { value } = parsed;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw malformed(files.location, name, Array.isArray(value) ? 'an array' : String(value));
  }
  return parsed;
}

function malformed(location: string, file: string, received: string, cause?: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected a JSON object (in ${location}), got ${received}`,
    where: { file },
    hint: 'The file is damaged: download or write it again.',
    data: { location, file, received },
    cause,
  });
}

/** What stands in place of a large file after `git clone` without git-lfs. */
const pointerStart = 'version https://git-lfs.github.com/spec/';
/** Bytes from which `requireNoPointer` can tell. */
export const pointerBytes = pointerStart.length;

/** Throws 'file-malformed' for a file, or the beginning of one, that only points at the contents that Git LFS keeps elsewhere. */
export function requireNoPointer(location: string, file: string, text: string): void {
  if (!text.startsWith(pointerStart)) return;
  throw new KvlrError('file-malformed', {
    message: `expected the file itself (in ${location}), got a pointer of Git LFS to it`,
    where: { file },
    hint: 'Run `git lfs install` once and `git lfs pull` in that directory, which loads what the pointers stand for.',
    data: { location, file },
  });
}

export function fileMissing(location: string, file: string, cause?: unknown): KvlrError {
  return new KvlrError('file-missing', {
    message: `expected this file in ${location}, found none`,
    where: { file },
    hint: 'Name a place with config.json, tokenizer.json and *.safetensors side by side: a directory, a URL, or a hub id such as owner/name.',
    data: { location, file },
    cause,
  });
}

export function fileTruncated(location: string, file: string, expectedBytes: number, receivedBytes: number): KvlrError {
  return new KvlrError('file-truncated', {
    message: `expected ${expectedBytes} bytes (in ${location}), got ${receivedBytes}`,
    where: { file },
    hint: 'The file was cut short: download or copy it again.',
    data: { location, file, expected: expectedBytes, received: receivedBytes },
  });
}

/** Bytes [start, end) of a file that is held in memory, as a view. Throws 'file-truncated' past the end. */
export function sliceBytes(
  location: string,
  file: string,
  bytes: Uint8Array,
  start = 0,
  end = bytes.length,
): Uint8Array {
  if (end > bytes.length || start > end) throw fileTruncated(location, file, end, bytes.length);
  return bytes.subarray(start, end);
}

/**
 * The small files that travel with a model whatever its weights: tokenizer, generation settings, chat template, licence.
 * Left out: weights and their indices, config.json, and the model card, which describes another model.
 */
export async function auxiliaryFiles(files: CheckpointFiles): Promise<Record<string, Uint8Array>> {
  const names = (await files.list()).filter(isAuxiliary);
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await files.read(name)] as const)));
}

function isAuxiliary(name: string): boolean {
  if (/^additional_chat_templates\/[^/]+\.jinja$/.test(name)) return true;
  if (name.includes('/') || name.startsWith('.') || name === 'config.json' || name.endsWith('.index.json'))
    return false;
  return (
    /\.(json|jinja|tiktoken)$/.test(name) ||
    /^(tokenizer|spiece)\.model$|^(vocab|merges)\.txt$|^(LICENSE|NOTICE)/.test(name)
  );
}
