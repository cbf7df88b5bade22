import { type FileHandle, mkdir, open, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { TaskAnswer } from '../scoring/metrics.ts';
import type { AnswerStore } from '../scoring/run-task.ts';

/** Answers in a file, one a line, added as they come. */
export interface AnswerFile extends AnswerStore {
  /** Answers that were there when it was opened. */
  readonly known: number;
  close(): Promise<void>;
}

/**
 * Opens a file of answers, or makes it. A kill loses at most the answer that was being written: its torn line is left out when the
 * file is opened again.
 */
export async function openAnswerFile(path: string): Promise<AnswerFile> {
  await mkdir(dirname(path), { recursive: true });
  const answers = new Map<string, TaskAnswer>();
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  for (const line of text.split('\n')) {
    const [key, answer] = parseLine(line) ?? [];
    if (key !== undefined && answer !== undefined) answers.set(key, answer);
  }
  const file: FileHandle = await open(path, 'a');
  if (text !== '' && !text.endsWith('\n')) await file.write('\n');
  const known = answers.size;
  return {
    known,
    get: (key) => answers.get(key),
    async put(key, answer) {
      answers.set(key, answer);
      await file.write(`${JSON.stringify([key, answer])}\n`);
    },
    close: () => file.close(),
  };
}

function parseLine(line: string): [key: string, answer: TaskAnswer] | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (Array.isArray(value) && typeof value[0] === 'string' && value.length === 2) {
      return value as [string, TaskAnswer];
    }
  } catch {
    // Torn by a kill, or empty.
  }
  return undefined;
}
