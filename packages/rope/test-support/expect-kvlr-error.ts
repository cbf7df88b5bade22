import { KvlrError, type KvlrErrorCode } from '@kvlr/core';
import { expect } from 'vitest';

/** Asserts that `work` throws a KvlrError with this code and a message that matches. */
export function expectKvlrError(work: () => unknown, code: KvlrErrorCode, message: RegExp): void {
  let thrown: unknown;
  try {
    work();
  } catch (error) {
    thrown = error;
  }
  expect(KvlrError.isInstance(thrown)).toBe(true);
  expect((thrown as KvlrError).code).toBe(code);
  expect((thrown as KvlrError).message).toMatch(message);
}
