import { expect, it } from 'vitest';
import {
  explainFailure,
  formatBytes,
  formatChange,
  formatCount,
  formatMeasurement,
  formatRatio,
  formatSeconds,
  formatShare,
} from './format.ts';

it('writes numbers as people read them', () => {
  expect(formatBytes(1_234_567)).toBe('1,234,567 bytes');
  expect([1, 1200].map((count) => formatCount(count, 'token'))).toEqual(['1 token', '1,200 tokens']);
  expect([0.04, 59.94, 59.96, 75, 119.6].map(formatSeconds)).toEqual([
    'under 0.1 s',
    '59.9 s',
    '1 min 0 s',
    '1 min 15 s',
    '2 min 0 s',
  ]);
  expect([2, 1.5, 4 / 3].map(formatRatio)).toEqual(['2×', '1.5×', '1.33×']);
  expect(formatShare(0.9876)).toBe('98.8\u00a0%');
  expect(formatMeasurement({ value: 20.63, standardError: 0.71 })).toBe('20.6\u00a0±\u00a00.7');
  expect(formatMeasurement({ value: 20.63 })).toBe('20.6');
  expect(formatChange({ value: 0.9409, standardError: 0.004 })).toBe('−5.9\u00a0±\u00a00.4\u00a0%');
});

it('says what happened and what to do on this page', () => {
  const failure = { message: 'expected a WebGPU adapter, got none', hint: 'Call prepareNodeRuntime.' };
  const explained = explainFailure({ code: 'backend-unavailable', ...failure });
  expect(explained.message).toBe('Expected a WebGPU adapter, got none');
  expect(explained.hint).toMatch(/^Choose WASM or auto/);
  expect(explainFailure({ code: 'text-empty', ...failure }).hint).toBe('Call prepareNodeRuntime.');
  expect(explainFailure({ code: 'internal', message: 'x', hint: undefined }).hint).toMatch(/^Try again/);
});
