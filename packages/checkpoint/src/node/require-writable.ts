import { lstat, mkdtemp, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { writeError } from './write-error.ts';

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

function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  );
}
