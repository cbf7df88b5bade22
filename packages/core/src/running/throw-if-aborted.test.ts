import { expect, test } from 'vitest';
import { throwIfAborted } from './throw-if-aborted.ts';

test('throws only once the signal has fired', () => {
  const controller = new AbortController();
  throwIfAborted(undefined);
  throwIfAborted(controller.signal);
  controller.abort('enough');
  expect(() => throwIfAborted(controller.signal)).toThrowError(
    expect.objectContaining({ code: 'aborted', cause: 'enough' }),
  );
});
