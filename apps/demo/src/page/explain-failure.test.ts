import { expect, it } from 'vitest';
import { explainFailure } from './explain-failure.ts';

it('says what happened without the name of a function, and what to do on this page', () => {
  const failure = { message: 'selectBackend: expected a WebGPU adapter, got none', hint: 'Call prepareNodeRuntime.' };
  const explained = explainFailure({ code: 'backend-unavailable', ...failure });
  expect(explained.message).toBe('Expected a WebGPU adapter, got none');
  expect(explained.hint).toMatch(/^Choose WASM or auto/);
  expect(explainFailure({ code: 'text-empty', ...failure }).hint).toBe('Call prepareNodeRuntime.');
  expect(explainFailure({ code: 'internal', message: 'x', hint: undefined }).hint).toMatch(/^Try again/);
});
