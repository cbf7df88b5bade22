import { KvlrError } from '@kvlr/core';
import type { Failure } from '../messages.ts';

/** An error as plain data for the page. */
export function describeFailure(error: unknown): Failure {
  if (KvlrError.isInstance(error)) return { code: error.code, message: error.reason, hint: error.hint };
  const message = error instanceof Error ? error.message : String(error);
  return { code: 'unexpected', message, hint: 'Load the page again. If it happens once more, choose WASM.' };
}
