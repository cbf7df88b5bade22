import { describe, expect, it } from 'vitest';
import { exampleCompression } from '../testing/example-reports.ts';
import { elements, findBrokenNumbers, findFaults, parseMarkup } from '../testing/markup-faults.ts';
import { cachePlot, cacheSvg } from './cache-plot.ts';
import { svgDocument } from './plot.ts';

describe('cachePlot', () => {
  it('ends each line at its exact share of the largest cache', () => {
    const svg = cacheSvg(exampleCompression());
    const ends = elements(parseMarkup(svg), 'circle').map((circle) => Number(circle.getAttribute('cy')));
    const [bottom, top] = [286, ends[0]!];
    expect((bottom - ends[1]!) / (bottom - top)).toBeCloseTo(0.5, 6);
    expect(svg).toContain('12 MiB');
    expect(svg).toContain('6 MiB');
    expect(findFaults(svg)).toEqual([]);
  });

  it('keeps labels of many small caches apart and inside', () => {
    const series = [65536, 900, 800, 700, 600, 500].map((bytesPerToken, index) => ({
      title: `cache ${index}`,
      bytesPerToken,
    }));
    const plot = cachePlot(series, [131072], 'm', 350);
    const svg = svgDocument(plot);
    const places = elements(parseMarkup(svg), 'text')
      .filter((text) => text.textContent?.startsWith('cache '))
      .map((text) => Number(text.getAttribute('y')));
    for (let index = 1; index < places.length; index++)
      expect(places[index]! - places[index - 1]!).toBeGreaterThanOrEqual(34);
    expect(places.at(-1)! + 15).toBeLessThan(plot.height);
  });

  it('stands no contexts and empty caches', () => {
    const svg = svgDocument(cachePlot([{ title: 'none', bytesPerToken: 0 }], [], 'm'));
    expect(findBrokenNumbers(svg)).toEqual([]);
  });
});
