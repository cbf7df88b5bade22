import { describe, expect, it } from 'vitest';
import type { BenchmarkReport } from '../documents/benchmark-report.ts';
import { benchmarkTerminal } from '../terminal/benchmark-terminal.ts';
import { exampleShape } from '../testing/example-reports.ts';
import { benchmarkMarkdown } from './benchmark-markdown.ts';
import { attentionMarkdown, engineMarkdown } from './measurement-markdown.ts';

const times = { samples: 80, p50: 12.5, p95: 20, least: 11 };
const speedup = { rounds: 5, median: 1.5, lowest: 1.25, highest: 2 };
const environment = { backend: 'wasm (as asked)', machine: '2 x processor' };
const decode = { batch: 1, context: 2048, step: times, tokensPerSecond: 80, bytesReadPerStep: 2 ** 21 };
const model = (name: string, heads: number) => ({
  name,
  shape: exampleShape(heads),
  randomWeights: heads < 8,
  weightBytes: 2 ** 20,
  cacheBytesPerToken: 3072 * heads,
});
const report: BenchmarkReport = {
  title: 'Example',
  models: [{ ...model('all | heads', 8), loadSeconds: 1.25 }, model('half', 4)],
  weightFormat: 'f32',
  cacheDtype: 'f16',
  rounds: 5,
  prefills: [{ model: 'half', batch: 4, promptTokens: 100, firstToken: times, tokensPerSecond: 32000, speedup }],
  decodes: [
    { ...decode, model: 'all | heads', cacheBytes: 2 ** 22, deviceBytes: 2 ** 23, dispatchesPerStep: 38 },
    { ...decode, model: 'half', cacheBytes: 2 ** 21, deviceBytes: 2 ** 22, dispatchesPerStep: 38, speedup },
  ],
  largestBatches: {
    memoryBytes: 2 ** 32,
    rows: [
      { model: 'all | heads', context: 2048, batch: 21 },
      { model: 'half', context: 2048, batch: 42 },
    ],
  },
  environment,
  notes: ['A note.'],
};
/** The cells of the row that begins with this name, in the table under this heading. */
function cells(markdown: string, heading: string, name: string): string[] {
  const section = markdown.split('\n## ').find((part) => part.startsWith(heading));
  const row = section?.split('\n').find((line) => line.startsWith(`| ${name} `));
  return (row ?? '')
    .split(/(?<!\\)\|/)
    .map((cell) => cell.trim())
    .slice(1, -1);
}

describe('benchmarkMarkdown', () => {
  const markdown = benchmarkMarkdown(report);

  it('has each figure in its table', () => {
    expect(cells(markdown, 'Models', 'half')).toEqual(['half', '4', '1 MiB', '12 KiB', '']);
    expect(cells(markdown, 'Prefill', 'half').slice(1, 5)).toEqual(['4', '100', '32,000', '12.50']);
    expect(cells(markdown, 'Decode', 'half')).toEqual([
      ...['half', '1', '2,048', '80.00', '12.50', '20.00'],
      '1.50x (1.25x to 2.00x)',
    ]);
    expect(cells(markdown, 'What one decode step takes', 'half').slice(3)).toEqual(['2 MiB', '4 MiB', '2 MiB', '38']);
    expect(cells(markdown, 'Largest batch in 4 GiB', 'half')).toEqual(['half', '42']);
  });

  it('escapes names, and gives the base no speed-up', () => {
    expect(cells(markdown, 'Decode', 'all \\| heads')[6]).toBe('');
  });

  it('leaves out dispatches and batches where there are none', () => {
    const decodes = report.decodes.map(({ dispatchesPerStep: _, ...row }) => row);
    const plain = benchmarkMarkdown({ ...report, decodes, largestBatches: undefined });
    expect(plain).not.toContain('Dispatches');
    expect(plain).not.toContain('Largest batch');
  });
});

it('benchmarkTerminal has the same tables, without control sequences', () => {
  const text = benchmarkTerminal({ ...report, title: 'Ex\u001b[31mample' });
  for (const part of ['Prefill', '1.50x (1.25x to 2.00x)', '2 x processor', 'A note.']) expect(text).toContain(part);
  expect(text).not.toContain('\u001b');
});

it('attentionMarkdown holds bandwidth against that of copying', () => {
  const row = {
    context: 8192,
    dtype: 'f16',
    keyValueHeads: 2,
    call: times,
    bytesRead: 2 ** 22,
    bytesPerSecond: 7e9,
  } as const;
  const markdown = attentionMarkdown({
    ...{ title: 'Attention', numAttentionHeads: 8, headDim: 72, copyBytesPerSecond: 1e10, environment, notes: [] },
    rows: [{ ...row, speedup }],
  });
  expect(cells(markdown, 'Decode attention', 'f16')).toEqual([
    ...['f16', '8,192', '2', '12.50', '11.00', '4 MiB', '7.00', '70.0%'],
    '1.50x (1.25x to 2.00x)',
  ]);
});

it('engineMarkdown says why an engine did not run', () => {
  const row = { model: 'original', dtypes: 'f32', context: 128 };
  const markdown = engineMarkdown({
    ...{ title: 'Engines', rounds: 3, environment, notes: [] },
    rows: [
      { ...row, engine: 'a', step: times, tokensPerSecond: 80 },
      { ...row, engine: 'b', problem: 'no adapter' },
    ],
  });
  expect(cells(markdown, 'Decode', 'a')[4]).toBe('80.00');
  expect(cells(markdown, 'Decode', 'b')[4]).toBe('did not run: no adapter');
});
