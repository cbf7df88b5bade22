import { describe, expect, it } from 'vitest';
import {
  cacheDtypesTerminal,
  comparisonTerminal,
  compressionTerminal,
  evaluationTerminal,
  spectraTerminal,
} from './terminal.ts';
import { exampleComparison, exampleCompression } from './testing/example-reports.ts';
import { hostileStrings } from './testing/markup-faults.ts';

const escapeCharacter = String.fromCharCode(27);
const colour = {
  strong: (text: string) => `${escapeCharacter}[1m${text}${escapeCharacter}[22m`,
  faint: (text: string) => `${escapeCharacter}[2m${text}${escapeCharacter}[22m`,
};
const withoutColour = (text: string) => text.replaceAll(new RegExp(`${escapeCharacter}\\[\\d+m`, 'g'), '');

describe('compressionTerminal', () => {
  it('fits a first screen and sets the base beside every figure', () => {
    const screen = compressionTerminal(exampleCompression());
    const lines = screen.split('\n');
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(96);
    expect(screen).toMatch(/Perplexity +30\.61 ± 0\.64 +30\.99 ± 0\.65 +\+1\.2% ± 0\.2%/);
    expect(screen).toMatch(/KV cache per token +6 KiB +3 KiB +−50\.0%/);
    expect(screen).toContain('peak memory 700 MiB');
    expect(screen).toContain('Took 5 min 22 s');
  });

  it('is the same text with and without colour', () => {
    const report = exampleCompression();
    expect(withoutColour(compressionTerminal(report, colour))).toBe(compressionTerminal(report));
  });
});

describe('comparisonTerminal', () => {
  it('aligns figures under their heads', () => {
    const lines = comparisonTerminal(exampleComparison()).split('\n');
    const head = lines.findIndex((line) => line.startsWith('Method'));
    const end = lines[head]!.indexOf('1/2 (4 heads)') + '1/2 (4 heads)'.length;
    for (const line of lines.slice(head + 2, head + 8)) expect(line.slice(0, end)).toMatch(/\d ± \d\.\d+$/);
  });

  it('adds everything measured on request', () => {
    const report = exampleComparison();
    expect(comparisonTerminal(report)).not.toContain('Same top');
    const detailed = comparisonTerminal(report, { details: true });
    for (const ratio of ['1/2', '1/4', '1/8']) expect(detailed).toContain(`Every method at ${ratio} of the KV cache`);
    expect(detailed).toContain('+148.4%');
    expect(detailed).toMatch(/5\.834M/);
  });
});

describe('the order of methods', () => {
  it('says in words which differences are noise, and of which row', () => {
    const screen = comparisonTerminal(exampleComparison(), { details: true });
    const [, order] = screen.split('Order at 1/2 of the KV cache');
    const lines = order!.split('\n').slice(4, 9);
    expect(lines[0]).toMatch(/^RoPE-exact factors and block reconstruction +30\.99 ± 0\.62$/);
    expect(lines[1]).toMatch(
      /^SVD of the act.* \+1\.26% ± 0\.31% +\+1\.26% ± 0\.31% +within noise of RoPE-exact factors and block/,
    );
    expect(lines[2]).toMatch(/^RoPE-exact factors, .* \+9\.36% ± 0\.31% +\+8\.00% ± 0\.31%$/);
    expect(screen).toContain('Below two standard');
  });

  it('calls no difference noise where no standard error is known', () => {
    const report = exampleComparison();
    const second = report.orders![0]!.ranks[1]!;
    second.toBest = { ...second.toBest!, withinNoise: undefined };
    expect(comparisonTerminal(report, { details: true })).toContain('too few windows to tell');
  });
});

describe('evaluationTerminal and spectraTerminal', () => {
  it('show the base where there is one', () => {
    const { result, base, spectra } = exampleCompression();
    expect(evaluationTerminal(result)).toContain('Perplexity of the base');
    expect(evaluationTerminal(base)).not.toContain('Perplexity of the base');
    const lines = spectraTerminal(spectra!).split('\n');
    expect(lines.slice(4, 10).map((line) => line.match(/^\d/)?.[0])).toEqual([...'012345']);
    expect(lines.slice(11).join(' ')).toMatch(/A quarter of the directions holds .* effective rank/);
  });
});

describe('cacheDtypesTerminal', () => {
  it('sets every dtype beside f32, in digits that show small changes', () => {
    const { base, result } = exampleCompression();
    const againstBase = {
      ...result.againstBase!,
      perplexityRatio: { value: 0.999995, standardError: 0.000002 },
      klDivergence: { value: 2.12e-7, standardError: 3.1e-8 },
    };
    const lines = cacheDtypesTerminal([
      { dtype: 'f32', evaluation: base },
      { dtype: 'f16', evaluation: { ...base, againstBase } },
    ]).split('\n');
    expect(lines[2]).toMatch(/^f32 +6 KiB +30\.61 ± 0\.64$/);
    expect(lines[3]).toMatch(/−0\.0005% ± 0\.0002% +2\.1e−7 ± 3\.1e−8 +91\.3% ± 0\.1%$/);
    expect(lines.slice(4).join(' ')).toContain('36,864 tokens');
  });
});

describe('hostile names', () => {
  it.each(hostileStrings)('cannot steer the terminal: %j', (hostile) => {
    const report = exampleCompression();
    report.title = hostile;
    report.notes = [hostile];
    report.environment.backend = hostile;
    report.result.perplexityBySource = { [hostile]: { value: 4 } };
    const comparison = exampleComparison();
    comparison.rows[0]!.title = hostile;
    const screens = [compressionTerminal(report), comparisonTerminal(comparison), evaluationTerminal(report.result)];
    for (const screen of screens) expect(screen.replaceAll('\n', '')).not.toMatch(/\p{Cc}/u);
  });

  it('keep a row on one line', () => {
    const titled = (title: string) => {
      const report = exampleComparison();
      report.rows[0]!.title = title;
      return comparisonTerminal(report);
    };
    expect(titled('x\ny')).toBe(titled('x y'));
  });
});
