import { KvlrError, type KvlrErrorCode } from '@kvlr/core';
import { expect } from 'vitest';

/**
 * Asserts that `work` fails with a KvlrError of this code whose message matches, and returns the error. Work that answers with a
 * promise is awaited, and so must the assertion be.
 */
export function expectKvlrError(
  work: () => Promise<unknown>,
  code: KvlrErrorCode,
  message?: RegExp | string,
): Promise<KvlrError>;
export function expectKvlrError(work: () => unknown, code: KvlrErrorCode, message?: RegExp | string): KvlrError;
export function expectKvlrError(
  work: () => unknown,
  code: KvlrErrorCode,
  message: RegExp | string = '',
): KvlrError | Promise<KvlrError> {
  const check = (thrown: unknown): KvlrError => {
    expect(thrown, `expected a KvlrError '${code}'`).toSatisfy(KvlrError.isInstance);
    const error = thrown as KvlrError;
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    return error;
  };
  let result: unknown;
  try {
    result = work();
  } catch (error) {
    return check(error);
  }
  if (!(result instanceof Promise)) return check(undefined);
  return result
    .then(
      () => undefined,
      (error: unknown) => error,
    )
    .then(check);
}
