import { describe, expect, it } from 'vitest';
import {
  formatCount,
  formatFineShare,
  formatMeasurement,
  formatPercent,
  stripControlCharacters,
} from '../format/format.ts';
import { energyShare } from '../tables/energy-table.ts';
import { exampleComparison, exampleCompression } from '../testing/example-reports.ts';
import { elements, findBrokenNumbers, findFaults, hostileStrings, parseMarkup } from '../testing/markup-faults.ts';
import { comparisonHtml, compressionHtml } from './report-pages.ts';

const pages = { compression: compressionHtml(exampleCompression()), comparison: comparisonHtml(exampleComparison()) };

describe.each(Object.entries(pages))('%s page', (_, page) => {
  it('is well-formed, loads nothing, runs nothing and repeats no id', () => {
    expect(findFaults(page)).toEqual([]);
    expect(findBrokenNumbers(page)).toEqual([]);
    expect(page).not.toMatch(/https?:/);
  });

  it('names every picture and describes it', () => {
    const pictures = elements(parseMarkup(page), 'svg').filter((svg) => svg.getAttribute('aria-hidden') !== 'true');
    expect(pictures.length).toBeGreaterThan(0);
    for (const svg of pictures) {
      expect(svg.getAttribute('role')).toBe('img');
      expect(svg.getElementsByTagName('title')[0]?.textContent).toBeTruthy();
      expect(svg.getElementsByTagName('desc')[0]?.textContent).toBeTruthy();
    }
  });

  it('gives every table a caption and header cells, and every row as many cells as columns', () => {
    for (const table of elements(parseMarkup(page), 'table')) {
      expect(table.getElementsByTagName('caption')[0]?.textContent).toBeTruthy();
      const rows = Array.from(table.getElementsByTagName('tr'));
      const columns = rows[0]!.getElementsByTagName('th').length;
      for (const row of rows.slice(1)) {
        expect(row.getElementsByTagName('th')[0]?.getAttribute('scope')).toBe('row');
        expect(row.getElementsByTagName('td').length + 1).toBe(columns);
      }
    }
  });

  it('follows the reader’s colour scheme and phone width', () => {
    expect(page).toContain('prefers-color-scheme:dark');
    expect(page).toContain('@media print');
    expect(page).toContain('width=device-width');
  });
});

describe('compressionHtml', () => {
  const text = parseMarkup(pages.compression).documentElement!.textContent!;

  it('shows every measured figure with the base beside it', () => {
    const report = exampleCompression();
    const against = report.result.againstBase!;
    const measured = [report.base, report.result].flatMap((one) => [
      one.perplexity,
      ...Object.values(one.perplexityBySource),
    ]);
    for (const one of [...measured, against.klDivergence]) expect(text).toContain(formatMeasurement(one));
    expect(text).toContain('+1.2% ± 0.2%');
    expect(text).toContain('91.3% ± 0.1%');
    expect(text).toContain(formatCount(report.result.tokenCount));
    for (const layer of report.spectra!) expect(text).toContain(formatPercent(energyShare(layer.keysAfterRope, 0.25)));
    for (const layer of report.reconstruction!) expect(text).toContain(formatFineShare(layer.heldOutAfter));
  });

  it('lays texts side by side, and marks where they part', () => {
    const marked = elements(parseMarkup(pages.compression), 'mark').map(({ textContent }) => textContent);
    expect(marked).toEqual(['unto him,', 'to them,']);
  });

  it('says which heads share one, the command that makes it again, and where all figures are', () => {
    expect(text).toContain('0 1 | 2 3 | 4 5 | 6 7');
    expect(text).toContain(exampleCompression().repeat);
    const links = elements(parseMarkup(pages.compression), 'a').map((link) => link.getAttribute('href'));
    expect(links).toEqual(['report.json', 'recipe.yaml']);
  });

  it('keeps exact bytes behind rounded sizes', () => {
    for (const bytes of ['6,144 bytes', '3,072 bytes', '12,582,912 bytes', '734,003,200 bytes']) {
      expect(pages.compression).toContain(`title="${bytes}"`);
    }
  });

  it('leaves out sections without data', () => {
    const { spectra: _spectra, heads: _heads, reconstruction: _reconstruction, ...rest } = exampleCompression();
    const { samples: _samples, repeat: _repeat, notes: _notes, ...bare } = rest;
    const page = compressionHtml(bare);
    expect(findFaults(page)).toEqual([]);
    expect(page).not.toContain('Layer 0');
  });

  it('has a table and no curves of layers that were refitted and not trained', () => {
    const report = exampleCompression();
    report.reconstruction = [
      { layer: 0, heldOutBefore: 0.02, heldOutAfter: 0.01, history: [{ step: 0, heldOutError: 0.02 }] },
    ];
    const page = compressionHtml(report);
    expect(findFaults(page)).toEqual([]);
    expect(page).toContain('Output projections refitted');
    expect(page).not.toMatch(/Steps|reconstruction of layer/);
  });

  it('stands degenerate spectra and histories', () => {
    const report = exampleCompression();
    report.spectra = [{ layer: 0, keysBeforeRope: [], keysAfterRope: [0, 0], values: new Float64Array([2]) }];
    report.reconstruction = [
      { layer: 0, heldOutBefore: 0, heldOutAfter: 0, history: [{ step: 0, trainingError: 0 }] },
      { layer: 1, heldOutBefore: 1, heldOutAfter: 1, history: [{ step: 0, heldOutError: 1 }] },
    ];
    expect(findBrokenNumbers(compressionHtml(report))).toEqual([]);
  });
});

describe('hostile names', () => {
  it.each(hostileStrings)('stay text: %j', (hostile) => {
    const compression = exampleCompression();
    compression.title = hostile;
    compression.model.name = hostile;
    compression.notes = [hostile];
    compression.repeat = hostile;
    compression.samples = [{ source: hostile, prompt: hostile, base: hostile, result: hostile, sharedCharacters: 1 }];
    compression.recipe = { [hostile]: hostile };
    compression.stages[0]!.title = hostile;
    compression.environment = { backend: hostile, machine: hostile, versions: { [hostile]: hostile } };
    compression.base.perplexityBySource = { [hostile]: { value: 3 } };
    compression.result.perplexityBySource = { [hostile]: { value: 4 } };
    const comparison = exampleComparison();
    comparison.title = hostile;
    comparison.model.name = hostile;
    comparison.rows[0]!.title = hostile;
    comparison.rows[0]!.reference = { perplexity: 70, source: hostile };
    for (const page of [compressionHtml(compression), comparisonHtml(comparison)]) {
      expect(findFaults(page)).toEqual([]);
      const title = elements(parseMarkup(page), 'h1')[0]?.textContent;
      expect(title).toBe(stripControlCharacters(hostile));
    }
  });
});
