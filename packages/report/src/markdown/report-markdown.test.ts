import { stockLayout } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import type { BenchmarkReport } from '../documents/benchmark-report.ts';
import { benchmarkTerminal } from '../terminal.ts';
import { exampleComparison, exampleCompression, exampleShape, withLayouts } from '../testing/example-reports.ts';
import { hostileStrings } from '../testing/markup-faults.ts';
import { modelCard } from './model-card.ts';
import {
  attentionMarkdown,
  benchmarkMarkdown,
  comparisonMarkdown,
  compressionMarkdown,
  engineMarkdown,
  escapeMarkdown,
} from './report-markdown.ts';

/** Cells of each run of table lines, split at bars that are not escaped. */
function tables(markdown: string): string[][][] {
  const found: string[][][] = [];
  let open = false;
  for (const line of markdown.split('\n')) {
    if (line.startsWith('|')) {
      if (!open) found.push([]);
      found.at(-1)!.push(
        line
          .slice(1, -1)
          .split(/(?<!\\)\|/)
          .map((cell) => cell.trim()),
      );
    }
    open = line.startsWith('|');
  }
  return found;
}

const documents = {
  compression: compressionMarkdown(exampleCompression()),
  comparison: comparisonMarkdown(exampleComparison()),
  card: modelCard(exampleCompression()),
};

describe.each(Object.entries(documents))('%s', (_, markdown) => {
  it('has tables whose rows all have the columns of their head', () => {
    const found = tables(markdown);
    expect(found.length).toBeGreaterThan(1);
    for (const table of found) expect(new Set(table.map((row) => row.length)).size).toBe(1);
  });
});

describe('comparisonMarkdown', () => {
  it('begins with the base and shows every perplexity at its ratio', () => {
    const [head, , base, ...rows] = tables(documents.comparison)[0]!;
    expect(head).toEqual(['Method', 'Layout', '1/2 (4 heads)', '1/4 (2 heads)', '1/8 (1 head)']);
    expect(base).toEqual(['base model, not compressed', 'stock', ...Array(3).fill('30.61 ± 0.64')]);
    expect(rows[0]!.slice(2)).toEqual(['76.05 ± 1.52', '172.5 ± 3.5', '216.9 ± 4.3']);
    expect(rows).toHaveLength(5);
  });

  it('names the source of reference figures', () => {
    expect(documents.comparison).toContain('Reference perplexities: an example.');
  });

  it('shows what the groups cost where groupings are compared', () => {
    const report = exampleComparison();
    const rows = report.rows.map((row) => ({ ...row, lostEnergy: 0.125, measuredError: 0.0625 }));
    const detail = tables(comparisonMarkdown({ ...report, rows })).find(
      ([head]) => head!.includes('Layout') && head!.includes('Time'),
    )!;
    const column = detail[0]!.indexOf('Lost energy');
    expect(detail.slice(2).map((cells) => cells[column])).toEqual(['0', ...Array(detail.length - 3).fill('0.125')]);
    const measured = detail[0]!.indexOf('Measured error');
    expect(detail.slice(2).map((cells) => cells[measured])).toEqual(['0', ...Array(detail.length - 3).fill('0.0625')]);
    expect(documents.comparison).not.toContain('Lost energy');
  });
});

describe('compressionMarkdown', () => {
  it('sets base and result side by side', () => {
    const rows = tables(documents.compression)[0]!.slice(2);
    expect(rows[0]).toEqual(['Perplexity', '30.61 ± 0.64', '30.99 ± 0.65', '+1.2% ± 0.2%']);
    expect(rows.at(-1)).toEqual(['KV cache at 2,048 tokens', '12 MiB', '6 MiB', '−50.0%']);
  });

  it('works without a measured base divergence', () => {
    const report = exampleCompression();
    delete report.result.againstBase;
    const rows = tables(compressionMarkdown(report))[0]!.slice(2);
    expect(rows[0]![3]).toBe('+1.2%');
    expect(rows.map((row) => row[0])).not.toContain('KL to base, nats per token');
  });
});

describe('modelCard', () => {
  it('states base, recipe, figures, licence and how to load a stock checkpoint', () => {
    for (const part of [
      'base_model: "example/model"',
      'library_name: transformers',
      'AutoModelForCausalLM',
      'vllm serve',
      'llama-server',
      'rope-exact',
      '30.61 ± 0.64',
      'under its licence: MIT.',
    ]) {
      expect(documents.card).toContain(part);
    }
  });

  it('says which engines load another number of KV heads in each layer', () => {
    const report = exampleCompression();
    const layouts = [8, 4, 4, 4, 2, 2].map((heads) => stockLayout(heads, 32));
    report.resultShape = withLayouts(exampleShape(8), layouts);
    const card = modelCard(report);
    expect(card).toContain('# example/model: 8 to 2 to 8 KV heads');
    expect(card).toContain('LlamaForCausalLM of transformers expects one number for all layers and cannot load it');
    expect(card).toContain('kvlr export DIR --gguf');
    expect(card).not.toContain('library_name');
    expect(card).not.toContain('vllm serve');
  });

  it('does not promise other engines for latent keys', () => {
    const report = exampleCompression();
    const layer = { keySlots: 1, keySlotWidth: 128, valueSlots: 4, valueSlotWidth: 32, keys: 'latent' as const };
    report.resultShape = withLayouts(exampleShape(4), Array(6).fill(layer));
    const card = modelCard(report);
    expect(card).not.toContain('from_pretrained');
    expect(card).not.toContain('library_name');
    expect(card).toContain('# example/model: latent keys in the KV cache');
    expect(card).toContain('kvlr generate');
    const rebuilt = { ...layer, keySlots: 4, keySlotWidth: 32, keys: 'rebuilt' as const };
    report.resultShape = withLayouts(exampleShape(4), Array(6).fill(rebuilt));
    expect(modelCard(report)).toContain('# example/model: rebuilt keys in the KV cache');
    expect(modelCard(report)).not.toContain('latent space');
  });

  it('claims no hub id and no licence that it does not know, and shows no local path', () => {
    const report = exampleCompression();
    report.model = { name: '/home/someone/tiny-llama', shape: report.model.shape };
    report.recipe = {
      method: 'svd-a',
      grouping: '/home/someone/plug-ins/mine.mjs',
      source: { location: '/home/someone/tiny-llama', file: 'C:\\models\\x', groupingHash: 'c0ffee' },
    };
    const card = modelCard(report);
    expect(card).not.toContain('base_model');
    expect(card).toContain('ask the base model');
    expect(card).toContain('# tiny-llama: 8 to 4 KV heads');
    expect(card).toContain('svd-a');
    expect(card).toMatch(/grouping +\| mine\.mjs/);
    expect(card).toMatch(/source\.groupingHash +\| c0ffee/);
    expect(card).not.toMatch(/someone|models|plug-ins/);
  });
});

describe('hostile names', () => {
  it.each(hostileStrings)('stay on their line and in their cell: %j', (hostile) => {
    const report = exampleCompression();
    const plain = compressionMarkdown(report).split('\n').length;
    report.title = hostile;
    report.model.name = hostile;
    report.recipe.method = hostile;
    report.environment.backend = hostile;
    const markdown = compressionMarkdown(report);
    expect(markdown.split('\n')).toHaveLength(plain);
    expect(markdown).not.toMatch(/(?<!\\)<(script|img|\/style)/);
    for (const table of tables(markdown)) expect(new Set(table.map((row) => row.length)).size).toBe(1);
    const card = modelCard(report);
    expect(card.split('\n').filter((line) => line === '---')).toHaveLength(2);
  });

  it('keeps plain words as they are', () => {
    expect(escapeMarkdown('RoPE-exact factors (stock), 1/2.')).toBe('RoPE-exact factors (stock), 1/2.');
  });
});

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

  it('tells the main thread from the device where both are known', () => {
    const [base, half] = report.decodes;
    const decodes = [
      { ...base!, recorded: { host: 0.5 } },
      { ...half!, recorded: { host: 0.25, device: 1.5 } },
    ];
    const split = benchmarkMarkdown({ ...report, decodes });
    expect(cells(split, 'Decode', 'half').slice(6, 8)).toEqual(['0.250', '1.50']);
    expect(cells(split, 'Decode', 'all \\| heads').slice(6, 8)).toEqual(['0.500', '']);
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
