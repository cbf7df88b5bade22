import { KvlrError, type KvlrErrorCode } from '@kvlr/core';
import { expect } from 'vitest';

/** Expects a KvlrError of this code whose message contains all the given parts. */
export async function expectError(
  work: Promise<unknown> | (() => unknown),
  code: KvlrErrorCode,
  ...parts: string[]
): Promise<void> {
  const outcome = await (typeof work === 'function' ? Promise.resolve().then(work) : work).catch(
    (error: unknown) => error,
  );
  expect(KvlrError.isInstance(outcome) ? outcome.code : outcome).toBe(code);
  for (const part of parts) expect((outcome as KvlrError).message).toContain(part);
}
