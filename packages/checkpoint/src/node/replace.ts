import {
  type FileHandle,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { KvlrError } from '@kvlr/core';
import type { ByteSink } from '../files/files.ts';

export interface ReplaceSettings {
  /** 'directory': `fill` gets an empty directory. 'file': `fill` gets a path at which it makes a file. */
  kind: 'directory' | 'file';
  overwrite?: boolean;
}

/**
 * Makes a file or directory that appears under its name only when it is complete. `fill` writes to a sibling of a
 * temporary name; it is renamed last, and only then does an overwritten predecessor go. Whatever fails, `path` is as it
 * was and nothing is left beside it. A directory's missing parents are made; a file's are not.
 * Throws 'file-exists', 'file-missing', 'disk-full', 'write-failed', and what `fill` throws.
 */
export async function replacePath(
  path: string,
  settings: ReplaceSettings,
  fill: (temporaryPath: string) => Promise<void>,
): Promise<void> {
  const target = resolve(path);
  await checkTarget(target, settings);
  if (settings.kind === 'file') await requireDirectory(dirname(target));
  await requireWritable(dirname(target));
  const suffix = crypto.randomUUID().slice(0, 8);
  const temporary = join(dirname(target), `.${basename(target)}.partial-${suffix}`);
  const retired = join(dirname(target), `.${basename(target)}.replaced-${suffix}`);
  try {
    if (settings.kind === 'directory') await mkdir(temporary, { recursive: true });
    await fill(temporary);
    // Another process may have made the target meanwhile.
    await checkTarget(target, settings);
    const replaces = await exists(target);
    if (replaces) await rename(target, retired);
    try {
      await rename(temporary, target);
    } catch (error) {
      if (replaces) await rename(retired, target);
      throw error;
    }
  } catch (error) {
    // A failing clean-up must not hide why the work failed.
    await rm(temporary, { recursive: true, force: true }).catch(() => undefined);
    throw writeError(error, target);
  }
  await rm(retired, { recursive: true, force: true });
}

/** A mistyped directory of a file is an error, not a new directory. */
async function requireDirectory(directory: string): Promise<void> {
  const found = await stat(directory).catch(() => undefined);
  if (found?.isDirectory()) return;
  throw new KvlrError('file-missing', {
    message: `expected a directory at ${directory}, found ${found === undefined ? 'nothing' : 'a file'}`,
    hint: 'Make the directory first, or choose another place.',
    data: { path: directory },
  });
}

/** Throws 'file-exists' where the path is taken, or is something that overwriting would be unwise for. */
async function checkTarget(target: string, { kind, overwrite = false }: ReplaceSettings): Promise<void> {
  const found = await lstat(target).catch(() => undefined);
  if (found === undefined) return;
  if (!overwrite) throw alreadyExists(target, 'Choose another name, or allow overwriting.');
  const replaceable = kind === 'directory' ? await isCheckpointOrEmpty(target) : found.isFile();
  if (!replaceable) {
    const hint = `It is not a ${kind === 'directory' ? 'checkpoint directory' : 'file'}, so it is not overwritten: choose another name.`;
    throw alreadyExists(target, hint);
  }
}

async function isCheckpointOrEmpty(directory: string): Promise<boolean> {
  const names = await readdir(directory).catch(() => undefined);
  return names !== undefined && (names.length === 0 || names.includes('config.json'));
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}

function alreadyExists(path: string, hint: string): KvlrError {
  return new KvlrError('file-exists', {
    message: `expected nothing at ${path}, got something that exists`,
    hint,
    data: { path },
  });
}

/** A file that is written from front to back. Throws 'disk-full' and 'write-failed'. */
class FileSink implements ByteSink {
  readonly #path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  static async open(path: string): Promise<FileSink> {
    try {
      return new FileSink(path, await open(path, 'w'));
    } catch (error) {
      throw writeError(error, path);
    }
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      let written = 0;
      while (written < bytes.length) {
        written += (await this.#handle.write(bytes, written, bytes.length - written)).bytesWritten;
      }
    } catch (error) {
      throw writeError(error, this.#path);
    }
  }

  /** Waits until the bytes are on the disk: a full disk may show itself only now. */
  async finish(): Promise<void> {
    try {
      await this.#handle.sync();
    } catch (error) {
      throw writeError(error, this.#path);
    }
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** Opens a file, hands it to `fill`, and closes it whatever happens. */
export async function fillFile(path: string, fill: (sink: ByteSink) => Promise<void>): Promise<void> {
  const sink = await FileSink.open(path);
  try {
    await fill(sink);
    await sink.finish();
  } finally {
    await sink.close();
  }
}

/**
 * Checks that directories can be made at or below a path, by making one in its nearest parent that exists and taking it
 * away again. Permissions alone do not tell: nobody can make a directory in /proc, where Node's recursive mkdir never ends.
 *
 * @throws KvlrError 'write-failed' or 'disk-full'.
 */
export async function requireWritable(path: string): Promise<void> {
  const target = resolve(path);
  let parent = target;
  while (!(await exists(parent)) && parent !== dirname(parent)) parent = dirname(parent);
  try {
    await rmdir(await mkdtemp(join(parent, '.kvlr-')));
  } catch (error) {
    throw writeError(error, target);
  }
}

/** Refuses before anything is written when the disk of `path` has less room than needed. Throws 'disk-full'. */
export async function checkFreeSpace(path: string, neededBytes: number): Promise<void> {
  const disk = await statfs(dirname(resolve(path))).catch(() => undefined);
  const freeBytes = disk === undefined ? Number.POSITIVE_INFINITY : disk.bavail * disk.bsize;
  if (freeBytes >= neededBytes) return;
  throw new KvlrError('disk-full', {
    message: `expected ${neededBytes} bytes free for ${path}, got ${freeBytes}`,
    hint: 'Free some space or write to another disk; nothing was written.',
    data: { path, neededBytes, freeBytes },
  });
}

/** A failure of the file system as a typed error: 'disk-full' or 'write-failed'. Other errors pass through. */
export function writeError(cause: unknown, path: string): unknown {
  if (!(cause instanceof Error) || !('syscall' in cause)) return cause;
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new KvlrError('disk-full', {
      message: `expected room for ${path}, got ${code}: the disk is full`,
      hint: 'Free some space or write to another disk; nothing was left behind.',
      data: { path, code },
      cause,
    });
  }
  // Node's message goes on with the call and its path, which may be a temporary one.
  const reason = cause.message.split(', ')[0];
  return new KvlrError('write-failed', {
    message: `expected ${path} to be writable, got ${reason}`,
    hint: 'Check that the place exists and that you may write there.',
    data: { path, code },
    cause,
  });
}
