import { lstat, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { KvlrError } from '@kvlr/core';
import { requireWritable } from './require-writable.ts';
import { writeError } from './write-error.ts';

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
    message: `write: expected a directory at ${directory}, found ${found === undefined ? 'nothing' : 'a file'}`,
    hint: 'Make the directory first, or choose another place.',
    data: { path: directory },
  });
}

/** Throws 'file-exists' where the path is taken, or is something that overwriting would be unwise for. */
async function checkTarget(target: string, { kind, overwrite = false }: ReplaceSettings): Promise<void> {
  const found = await lstat(target).catch(() => undefined);
  if (found === undefined) return;
  if (!overwrite) throw alreadyExists(target, 'Choose another name, or allow overwriting (--overwrite).');
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
    message: `write: expected nothing at ${path}, got something that exists`,
    hint,
    data: { path },
  });
}
