import { createHash } from 'node:crypto';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { KvlrError } from '@kvlr/core';

/** What of a file tells that it is the same: its size, and a hash of pieces all over it. */
interface FileSample {
  size: number;
  sample: string;
}

export type SourceSamples = Readonly<Record<string, FileSample>>;

interface Stamp {
  size: number;
  modified: number;
  inode: number;
}

/** The files on which the numbers of a run depend. */
const watchedFile = /\.(safetensors|gguf)$|^(config|tokenizer|tokenizer_config)\.json$/i;

const pieces = 64;
const pieceBytes = 4096;

/** Notices when the files of a model change while a run reads them. */
export class SourceWatch {
  readonly #directory: string;
  readonly #stamps: Map<string, Stamp>;
  /** As the files were when the watch began. */
  readonly samples: SourceSamples;

  private constructor(directory: string, stamps: Map<string, Stamp>, samples: SourceSamples) {
    this.#directory = directory;
    this.#stamps = stamps;
    this.samples = samples;
  }

  /** Watches a directory or a GGUF file; undefined for what is neither, such as an address. */
  static async begin(location: string): Promise<SourceWatch | undefined> {
    const found = await stat(location).catch(() => undefined);
    if (found === undefined) return undefined;
    const directory = found.isDirectory() ? location : dirname(location);
    const names = found.isDirectory() ? (await readdir(location)).filter((name) => watchedFile.test(name)) : [];
    if (found.isFile()) names.push(basename(location));
    const stamps = new Map<string, Stamp>();
    const samples: Record<string, FileSample> = {};
    for (const name of names.sort()) {
      const stamp = await stampOf(join(directory, name));
      if (stamp === undefined) continue;
      stamps.set(name, stamp);
      samples[name] = { size: stamp.size, sample: await sampleOf(join(directory, name)) };
    }
    return new SourceWatch(directory, stamps, samples);
  }

  /**
   * Asks whether the files are as they were when the watch began. New times alone change nothing: then the sample decides.
   *
   * @throws KvlrError 'source-changed', naming the file.
   */
  async check(): Promise<void> {
    for (const [name, before] of this.#stamps) {
      const path = join(this.#directory, name);
      const now = await stampOf(path);
      if (now === undefined) throw sourceChanged(path, 'none');
      if (now.size !== before.size) throw sourceChanged(path, `one of ${now.size} bytes in place of ${before.size}`);
      if (now.modified === before.modified && now.inode === before.inode) continue;
      if ((await sampleOf(path)) !== this.samples[name]!.sample) throw sourceChanged(path, 'another content');
      this.#stamps.set(name, now);
    }
  }
}

/** The first file that is not the same in both. */
export function changedFile(before: SourceSamples, now: SourceSamples): string | undefined {
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  return names.find((name) => before[name]?.size !== now[name]?.size || before[name]?.sample !== now[name]?.sample);
}

async function stampOf(path: string): Promise<Stamp | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() ? { size: found.size, modified: found.mtimeMs, inode: found.ino } : undefined;
}

async function sampleOf(path: string): Promise<string> {
  const handle = await open(path, 'r');
  try {
    return await hashPieces(handle, (await handle.stat()).size);
  } finally {
    await handle.close();
  }
}

async function hashPieces(handle: FileHandle, size: number): Promise<string> {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(pieceBytes);
  const last = Math.max(0, size - pieceBytes);
  const starts = Array.from({ length: pieces }, (_, piece) => Math.floor((piece * last) / (pieces - 1)));
  for (const start of new Set(size <= pieces * pieceBytes ? everyPiece(size) : starts)) {
    const { bytesRead } = await handle.read(buffer, 0, pieceBytes, start);
    hash.update(buffer.subarray(0, bytesRead));
  }
  return hash.digest('hex');
}

function everyPiece(size: number): number[] {
  return Array.from({ length: Math.ceil(size / pieceBytes) }, (_, piece) => piece * pieceBytes);
}

function sourceChanged(file: string, found: string): KvlrError {
  return new KvlrError('source-changed', {
    message: `expected the file as it was when the run began, found ${found}`,
    hint: 'Let the model alone while a run reads it. What was finished before is kept: put the file back, or begin a new run.',
    where: { file },
    data: { file },
  });
}
