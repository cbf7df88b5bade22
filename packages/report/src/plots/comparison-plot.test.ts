import { KvlrError } from '@kvlr/core';
import { describe, expect, it } from 'vitest';
import { exampleComparison } from '../testing/example-reports.ts';
import { elements, findBrokenNumbers, findFaults, parseMarkup } from '../testing/markup-faults.ts';
import { comparisonPlot, comparisonSvg } from './comparison-plot.ts';
import { svgDocument } from './plot.ts';

/** Distance of each bar's end from the base line, by the title of its marker. */
function barLengths(svg: string): Map<string, number> {
  const markers = elements(parseMarkup(svg), 'path').filter((path) => path.getAttribute('transform'));
  return new Map(
    markers.map((path) => [
      path.textContent ?? '',
      Number(/translate\(([\d.]+)/.exec(path.getAttribute('transform')!)![1]),
    ]),
  );
}

describe('comparisonPlot', () => {
  it('puts markers on a logarithmic axis', () => {
    const places = [...barLengths(comparisonSvg(exampleComparison()))];
    const at = (title: string) => places.find(([name]) => name.includes(title))![1];
    const [x30, x76, x172] = [at('30.99 ±'), at('76.05 ±'), at('172.5 ±')];
    const expected = Math.log(172.5 / 30.99) / Math.log(76.05 / 30.99);
    expect((x172 - x30) / (x76 - x30)).toBeCloseTo(expected, 2);
  });

  it('draws every row once, with its figure beside it', () => {
    const report = exampleComparison();
    const svg = comparisonSvg(report);
    expect(barLengths(svg).size).toBe(report.rows.length);
    const texts = elements(parseMarkup(svg), 'text').map((text) => text.textContent);
    for (const figure of ['76.05', '172.5', '216.9', '31.38', '30.99', 'base 30.61']) expect(texts).toContain(figure);
  });

  it.each([350, 820])('keeps text inside a picture %i wide', (width) => {
    const plot = comparisonPlot(exampleComparison(), width);
    for (const text of elements(parseMarkup(svgDocument(plot)), 'text')) {
      const [x, y] = [Number(text.getAttribute('x')), Number(text.getAttribute('y'))];
      const length = (text.textContent ?? '').length * 7;
      const start = text.getAttribute('text-anchor') === 'end' ? x - length : x;
      expect(start).toBeGreaterThanOrEqual(-8);
      expect(y).toBeLessThanOrEqual(plot.height);
      expect(y).toBeGreaterThan(0);
    }
  });

  it('says so where a perplexity is not finite, and draws the rest', () => {
    const report = exampleComparison();
    report.rows[1]!.perplexity = { value: Number.POSITIVE_INFINITY, standardError: Number.NaN };
    report.rows[2]!.perplexity = { value: 50, standardError: 80 };
    const svg = comparisonSvg(report);
    expect(svg).toContain('not finite');
    expect(findBrokenNumbers(svg)).toEqual([]);
    expect(barLengths(svg).size).toBe(report.rows.length - 1);
  });

  it('is a file without faults', () => {
    expect(findFaults(comparisonSvg(exampleComparison()))).toEqual([]);
  });

  it('refuses a comparison of nothing', () => {
    const draw = () => comparisonSvg({ ...exampleComparison(), rows: [] });
    expect(draw).toThrow(KvlrError);
    expect(draw).toThrow(/at least one row/);
  });
});
