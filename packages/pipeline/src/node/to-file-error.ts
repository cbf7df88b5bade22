import { KvlrError } from '@kvlr/core';

/** Names the file and the mending of an operating system's write or read error. A KvlrError passes unchanged. */
export function toFileError(functionName: string, path: string, error: unknown): KvlrError {
  if (KvlrError.isInstance(error)) return error;
  const systemCode = error instanceof Error && 'code' in error ? String(error.code) : undefined;
  const reason = error instanceof Error ? error.message : String(error);
  const data = { file: path, systemCode };
  if (systemCode === 'ENOSPC' || systemCode === 'EDQUOT') {
    return new KvlrError('disk-full', {
      message: `${functionName}: expected room for ${path}, got a full disk (${systemCode})`,
      hint: 'Free some space, or choose another place with -o and --run; the same command then resumes.',
      data,
      cause: error,
    });
  }
  return new KvlrError('write-failed', {
    message: `${functionName}: expected to use ${path}, got ${reason}`,
    hint: 'Check that the directory exists and that you may write there.',
    data,
    cause: error,
  });
}
