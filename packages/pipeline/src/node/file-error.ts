import { KvlrError } from '@kvlr/core';

/** Names the file and the way on of an operating system's write or read error. A KvlrError passes unchanged. */
export function toFileError(file: string, error: unknown): KvlrError {
  if (KvlrError.isInstance(error)) return error;
  const systemCode = error instanceof Error && 'code' in error ? String(error.code) : undefined;
  const details = { where: { file }, data: { file, systemCode }, cause: error };
  if (systemCode === 'ENOSPC' || systemCode === 'EDQUOT') {
    return new KvlrError('disk-full', {
      message: `expected room to write, got a full disk (${systemCode})`,
      hint: 'Free some space, or choose another place; a run that is repeated goes on where it was cut.',
      ...details,
    });
  }
  return new KvlrError('write-failed', {
    message: `expected to read and write here, got ${error instanceof Error ? error.message : error}`,
    hint: 'Check that the directory exists and that you may write there.',
    ...details,
  });
}
