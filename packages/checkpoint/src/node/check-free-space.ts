import { statfs } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { KvlrError } from '@kvlr/core';

/** Refuses before anything is written when the disk of `path` has less room than needed. Throws 'disk-full'. */
export async function checkFreeSpace(path: string, neededBytes: number): Promise<void> {
  const disk = await statfs(dirname(resolve(path))).catch(() => undefined);
  const freeBytes = disk === undefined ? Number.POSITIVE_INFINITY : disk.bavail * disk.bsize;
  if (freeBytes >= neededBytes) return;
  throw new KvlrError('disk-full', {
    message: `write: expected ${neededBytes} bytes free for ${path}, got ${freeBytes}`,
    hint: 'Free some space or write to another disk; nothing was written.',
    data: { path, neededBytes, freeBytes },
  });
}
