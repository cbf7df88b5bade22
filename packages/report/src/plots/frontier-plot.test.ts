import { describe, expect, it } from 'vitest';
import { bestWithin, type FrontierPoint, type FrontierReport, paretoFront } from '../documents/frontier-report.ts';
import { frontierMarkdown } from '../markdown/report-markdown.ts';
import { frontierTerminal } from '../terminal.ts';
import { exampleComparison } from '../testing/example-reports.ts';
import { elements, findBrokenNumbers, findFaults, hostileStrings, parseMarkup } from '../testing/markup-faults.ts';
import { frontierSvg } from './frontier-plot.ts';

const point = (heads: string, cache: string, bytes: number[], change: number, engines: string[]): FrontierPoint => ({
  ...{ heads, headsTitle: heads, cache, cacheTitle: cache, engines, bytes, tableBytes: 0 },
  perplexity: { value: 30 * (1 + change), standardError: 0.6 },
  perplexityRatio: { value: 1 + change, standardError: 0.001 },
  klDivergence: { value: 0.01, standardError: 0.001 },
  topOneAgreement: { value: 0.95, standardError: 0.001 },
});

const points = [
  point('8 heads', 'f16', [1000, 8000], 0, ['llama.cpp', 'kvlr']),
  point('8 heads', 'q4_0', [280, 2240], 0.007, ['llama.cpp']),
  point('8 heads', 'channel-3', [250, 1880], 0.004, ['kvlr']),
  // The exact tokens weigh less at the longer context.
  point('8 heads', 'channel-2+window=32', [240, 1400], 0.005, ['kvlr']),
  point('4 heads', 'f16', [500, 4000], 0.01, ['llama.cpp']),
  point('4 heads', 'q4_0', [140, 1120], 0.03, ['llama.cpp']),
];

const { model, base } = exampleComparison();
const report: FrontierReport = {
  ...{ title: 'Equal bytes', model, base, contexts: [512, 4096], baseBytes: [1000, 8000], points, notes: ['A note.'] },
};

describe('the front', () => {
  it('is what nothing beats in bytes and perplexity', () => {
    expect(paretoFront(points, 0).map(({ heads, cache }) => `${heads} ${cache}`)).toEqual([
      '4 heads q4_0',
      '8 heads channel-2+window=32',
      '8 heads channel-3',
      '8 heads f16',
    ]);
  });

  it('has the best of a budget, of an engine, at a context', () => {
    expect(bestWithin(report, 1 / 4, 0)?.cache).toBe('channel-3');
    expect(bestWithin(report, 1 / 5, 1)?.cache).toBe('channel-2+window=32');
    expect(bestWithin(report, 1 / 4, 0, 'llama.cpp')).toMatchObject({ heads: '4 heads', cache: 'q4_0' });
    expect(bestWithin(report, 1 / 16, 0)).toBeUndefined();
  });
});

it('draws every point once, and the front through those that nothing beats', () => {
  const svg = frontierSvg(report);
  const paths = elements(parseMarkup(svg), 'path');
  const titled = paths.map((path) => path.textContent ?? '').filter((title) => / at \d/.test(title));
  expect(titled).toHaveLength(points.length);
  const fronts = paths.filter((path) => path.getAttribute('class')?.startsWith('line'));
  const corners = fronts.map((path) => path.getAttribute('d')!.match(/[ML]/g)!.length);
  // All points, and those that llama.cpp has too.
  expect(corners).toEqual([4, 3]);
  expect(elements(parseMarkup(svg), 'circle')).toHaveLength(5);
  expect(findFaults(svg)).toEqual([]);
  expect(findBrokenNumbers(svg)).toEqual([]);
});

it('says in the tables what is best, and marks the front at each context', () => {
  const markdown = frontierMarkdown(report);
  expect(markdown).toMatch(/\| 8 heads +\| channel-3 +\| +25\.0% ◆ \| +23\.5% ◆/);
  expect(markdown).toMatch(/\| +1\/16 \| +512 \| none measured/);
  expect(frontierTerminal(report)).toContain('A note.');
});

it.each(hostileStrings)('holds names that would break markup: %s', (name) => {
  const [first] = points;
  const svg = frontierSvg({ ...report, points: [{ ...first!, cache: name, headsTitle: name }] });
  expect(findFaults(svg)).toEqual([]);
});
