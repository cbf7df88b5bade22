import { KvlrError } from '@kvlr/core';
import { decodeParquet, type ParquetRows } from './decode-parquet.ts';

/** What a file may take to be decoded. */
export interface ParquetLimits {
  /**
   * Bytes of memory. Default 1 GiB and 32 for each byte of the file: texts that are packed well grow to ten times their size, and stand
   * there as bytes, as strings and on their way out. A file that is made for it grows to a million times.
   */
  bytes?: number;
  /** Default a minute and 20 microseconds for each byte: fifty times as long as sound files need. */
  milliseconds?: number;
}

/** What the process that decodes says: rows, at last the names of all columns; or why not. */
type Answer = { rows: ParquetRows['rows'] } | { columns: string[] } | { reason: string };

/** Node, as far as it is used: this package is for browsers too and imports nothing of it. */
interface Node {
  getBuiltinModule(name: 'node:module'): { createRequire(from: string): { resolve(name: string): string } };
  getBuiltinModule(name: 'node:child_process'): {
    fork(program: string, argumentList: string[], settings: object): Decoder;
  };
  getBuiltinModule(name: 'node:stream'): { Readable: { from(pieces: Iterable<Uint8Array>): object } };
  getBuiltinModule(name: 'node:stream/promises'): { pipeline(from: object, to: object): Promise<void> };
}

/** The process that decodes. */
interface Decoder {
  readonly stdin: object;
  on(event: 'message', hear: (answer: Answer) => void): Decoder;
  once(event: 'error' | 'close', hear: (error: unknown) => void): Decoder;
  kill(signal: 'SIGKILL'): void;
}

/** Bytes that go to it in one piece. */
const pieceBytes = 2 ** 24;

/**
 * Rows of a Parquet file from anywhere. In Node it is decoded in a process of its own, which ends where it takes more memory or time
 * than a file of this size needs. In browsers nothing bounds it but the page.
 *
 * @param name Of the file, for errors.
 * @param columns Default: all.
 * @throws KvlrError 'file-malformed' for what is no whole Parquet file, 'unsupported-feature' for one beyond its limits.
 */
export async function readParquet(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  columns?: readonly string[],
  limits: ParquetLimits = {},
): Promise<ParquetRows> {
  const node = (globalThis as { process?: Node }).process;
  if (node?.getBuiltinModule !== undefined) return decodeElsewhere(node, name, bytes, columns, limits);
  try {
    return await decodeParquet(bytes, columns);
  } catch (cause) {
    throw malformed(name, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

async function decodeElsewhere(
  node: Node,
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  columns: readonly string[] | undefined,
  { bytes: mostBytes = 2 ** 30 + 32 * bytes.length, milliseconds = 60_000 + 0.02 * bytes.length }: ParquetLimits,
): Promise<ParquetRows> {
  const { createRequire } = node.getBuiltinModule('node:module');
  const { fork } = node.getBuiltinModule('node:child_process');
  // By its public name, so that it is found wherever this module was bundled to.
  const program = createRequire(import.meta.url).resolve('@kvlr/calibration/parquet-worker');
  const mebibytes = Math.ceil(mostBytes / 2 ** 20);
  const child = fork(program, [JSON.stringify([mostBytes, columns])], {
    execArgv: [`--max-old-space-size=${mebibytes}`],
    serialization: 'advanced',
    stdio: ['pipe', 'ignore', 'ignore', 'ipc'],
  });
  let timeIsUp = false;
  const timer = setTimeout(() => {
    timeIsUp = true;
    child.kill('SIGKILL');
  }, milliseconds);
  try {
    const [answer] = await Promise.all([answerOf(child), give(node, child, bytes)]);
    if (answer === undefined) {
      const limit = timeIsUp ? `${Math.ceil(milliseconds / 1000)} seconds` : `${mebibytes} MiB of memory`;
      throw beyondLimits(name, bytes.length, limit);
    }
    if ('reason' in answer) throw malformed(name, answer.reason);
    return answer;
  } finally {
    clearTimeout(timer);
    child.kill('SIGKILL');
  }
}

/** Undefined where the process ended without one. */
function answerOf(child: Decoder): Promise<ParquetRows | { reason: string } | undefined> {
  return new Promise((resolve, reject) => {
    const rows: ParquetRows['rows'] = [];
    child.on('message', (answer: Answer) => {
      if ('rows' in answer) for (const row of answer.rows) rows.push(row);
      else resolve('columns' in answer ? { ...answer, rows } : answer);
    });
    child.once('error', reject).once('close', () => resolve(undefined));
  });
}

async function give(node: Node, child: Decoder, bytes: Uint8Array): Promise<void> {
  const { Readable } = node.getBuiltinModule('node:stream');
  const { pipeline } = node.getBuiltinModule('node:stream/promises');
  const pieces = function* () {
    for (let start = 0; start < bytes.length; start += pieceBytes) yield bytes.subarray(start, start + pieceBytes);
  };
  // Who ends before the last piece says so by its end.
  await pipeline(Readable.from(pieces()), child.stdin).catch(() => undefined);
}

function beyondLimits(file: string, size: number, limit: string): KvlrError {
  return new KvlrError('unsupported-feature', {
    message: `expected a Parquet file of ${size} bytes to be read within ${limit}, got one that takes more`,
    hint: 'It was made to fill the memory, or says the same over and over: where you trust it, write its texts as JSON lines.',
    where: { file },
    data: { file, limit },
  });
}

function malformed(file: string, received: string, cause?: unknown): KvlrError {
  return new KvlrError('file-malformed', {
    message: `expected a whole Parquet file, got ${received}`,
    hint: 'The file was cut short or damaged: copy it again.',
    where: { file },
    data: { file },
    cause,
  });
}
