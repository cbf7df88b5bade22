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
import { dirname, join, resolve } from 'node:path';
import { KvlrError } from '@kvlr/core';
import type { ByteSink } from '../files/files.ts';
import {
  claimPlace,
  encodeMarker,
  markerName,
  namesIn,
  type PlaceClaim,
  type PlaceRequest,
  siblings,
} from './claim.ts';

export interface ReplaceSettings extends Pick<PlaceRequest, 'overwrite' | 'apartFrom'> {
  /** 'directory': `fill` gets an empty directory. 'file': `fill` gets a path at which it makes a file. */
  kind: 'directory' | 'file';
  /** The place, where the caller holds it already and lets it go afterwards. */
  claim?: PlaceClaim | undefined;
}

/**
 * Makes a file or directory that appears under its name only when it is complete. `fill` writes to a sibling of a
 * temporary name; it is renamed last, and only then does an overwritten predecessor go. Whatever fails, `path` is as it
 * was and nothing is left beside it. A directory's missing parents are made, a file's are not; a directory gets a marker.
 * Throws what `claimPlace` throws, 'file-missing', 'disk-full', 'write-failed', and what `fill` throws.
 */
export async function replacePath(
  path: string,
  settings: ReplaceSettings,
  fill: (temporaryPath: string) => Promise<void>,
): Promise<void> {
  if (settings.kind === 'file') await requireDirectory(dirname(resolve(path)));
  const claim = settings.claim ?? (await claimPlace({ path, ...settings }));
  try {
    await replaceClaimed(claim, settings.kind, fill);
  } finally {
    if (settings.claim === undefined) await claim.release();
  }
}

async function replaceClaimed(
  claim: PlaceClaim,
  kind: ReplaceSettings['kind'],
  fill: (temporaryPath: string) => Promise<void>,
): Promise<void> {
  const target = claim.path;
  await requireWritable(dirname(target));
  const { partial, retired } = siblings(target);
  try {
    if (kind === 'directory') await mkdir(partial, { recursive: true });
    await fill(partial);
    if (kind === 'directory') await markDirectory(partial);
    // Another program may have made the target meanwhile.
    await claim.check();
    const replaces = await exists(target);
    if (replaces) await rename(target, retired);
    try {
      await rename(partial, target);
    } catch (error) {
      if (replaces) await rename(retired, target);
      throw error;
    }
  } catch (error) {
    // A failing clean-up must not hide why the work failed.
    await rm(partial, { recursive: true, force: true }).catch(() => undefined);
    throw writeError(error, target);
  }
  await rm(retired, { recursive: true, force: true });
}

/** Says of a directory that kvlr wrote it, and which files. */
async function markDirectory(directory: string): Promise<void> {
  const files = await namesIn(directory);
  await fillFile(join(directory, markerName), (sink) => sink.write(encodeMarker({ kind: 'result', files })));
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

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
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
    // One that a killed run left is nobody's: whoever comes first takes it away.
    await clearProbes(parent);
    await rmdir(await mkdtemp(join(parent, probeStart))).catch(ignoreMissing);
  } catch (error) {
    throw writeError(error, target);
  }
}

const probeStart = '.kvlr-probe-';

async function clearProbes(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  const probes = names.filter((name) => name.startsWith(probeStart));
  await Promise.all(probes.map((name) => rmdir(join(directory, name)).catch(() => undefined)));
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
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
