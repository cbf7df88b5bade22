import { KvlrError } from './kvlr-error.ts';

/** Throws a KvlrError with code 'aborted' once the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new KvlrError('aborted', { message: 'The work was stopped before it was done.', cause: signal.reason });
  }
}
