import { expect, it } from 'vitest';
import { explainFailure } from './failure.ts';

it('says what happened and what to do on this page', () => {
  const failure = { message: 'expected a WebGPU adapter, got none', hint: 'Call prepareNodeRuntime.' };
  const explained = explainFailure({ code: 'backend-unavailable', ...failure });
  expect(explained.message).toBe('Expected a WebGPU adapter, got none');
  expect(explained.hint).toMatch(/^Choose WASM or auto/);
  expect(explained.wasm).toBe(true);
  expect(explainFailure({ code: 'text-empty', ...failure })).toMatchObject({ hint: failure.hint, wasm: false });
  expect(explainFailure({ code: 'device-lost', ...failure })).toMatchObject({
    hint: expect.stringContaining('go on with WASM'),
    wasm: true,
  });
  expect(explainFailure({ code: 'internal', message: 'x', hint: undefined }).hint).toMatch(/^Try again/);
});
