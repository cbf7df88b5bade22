import { KvlrError } from '@kvlr/core';

/** A failure of the file system as a typed error: 'disk-full' or 'write-failed'. Other errors pass through. */
export function writeError(cause: unknown, path: string): unknown {
  if (!(cause instanceof Error) || !('syscall' in cause)) return cause;
  const { code } = cause as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return new KvlrError('disk-full', {
      message: `write: expected room for ${path}, got ${code}: the disk is full`,
      hint: 'Free some space or write to another disk; nothing was left behind.',
      data: { path, code },
      cause,
    });
  }
  // Node's message goes on with the call and its path, which may be a temporary one.
  const reason = cause.message.split(', ')[0];
  return new KvlrError('write-failed', {
    message: `write: expected ${path} to be writable, got ${reason}`,
    hint: 'Check that the place exists and that you may write there.',
    data: { path, code },
    cause,
  });
}
