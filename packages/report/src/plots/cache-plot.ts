import { scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import type { CompressionReport } from '../documents/compression-report.ts';
import { formatBytes, formatCount, wrapText } from '../format/format.ts';
import { element, type Markup } from '../markup.ts';
import { type CacheSeries, compressionCacheSeries } from '../tables/report-table.ts';
import { binaryTicks, dashes, label, type Plot, rule, seriesClass, spreadLabels, svgDocument } from './plot.ts';

/** Tokens on an axis that ends at `longest`, as context lengths are named: 2048 -> "2K", 1536 -> "1.5K". */
function formatTokens(tokens: number, longest: number): string {
  if (longest < 2048 || tokens === 0) return formatCount(tokens);
  return `${(tokens / 1024).toLocaleString('en-US', { maximumFractionDigits: 2 })}K`;
}

/** Size of the KV cache by context length up to the longest context. The first series is the base. */
export function cachePlot(
  series: readonly CacheSeries[],
  contexts: readonly number[],
  modelName: string,
  width = 760,
): Plot {
  const longest = Math.max(1, ...contexts);
  const largest = Math.max(1, ...series.map((one) => one.bytesPerToken)) * longest;
  const [plotTop, plotBottom, plotLeft, plotRight] = [34, 286, 66, width - 118];
  const x = scaleLinear([0, longest], [plotLeft, plotRight]);
  const y = scaleLinear([0, largest], [plotBottom, plotTop]);
  const shapes: Markup[] = [label('KV cache', 4, 16, { className: 'muted' })];
  for (const tick of binaryTicks(largest, 6)) {
    shapes.push(rule(plotLeft, y(tick), plotRight, y(tick), tick === 0 ? 'axis' : 'grid'));
    shapes.push(label(formatBytes(tick), plotLeft - 8, y(tick) + 4, { anchor: 'end', className: 'muted' }));
  }
  for (const tick of binaryTicks(longest, width >= 560 ? 8 : 4)) {
    shapes.push(rule(x(tick), plotBottom, x(tick), plotBottom + 5, 'axis'));
    shapes.push(label(formatTokens(tick, longest), x(tick), plotBottom + 20, { anchor: 'middle', className: 'muted' }));
  }
  shapes.push(label('context, tokens', plotRight, plotBottom + 40, { anchor: 'end', className: 'muted' }));
  const ends = series.map((one) => y(one.bytesPerToken * longest));
  const places = spreadLabels(ends, 34, plotTop, Math.max(plotBottom - 12, plotTop + 34 * series.length));
  const path = line<[number, number]>(
    (point) => x(point[0]),
    (point) => y(point[1]),
  ).digits(2);
  series.forEach((one, index) => {
    const name = index === 0 ? 'base' : index - 1;
    const d = path([
      [0, 0],
      [longest, one.bytesPerToken * longest],
    ])!;
    shapes.push(
      element('path', {
        d,
        class: `line ${seriesClass(name, 's')}`,
        'stroke-dasharray': index === 0 ? undefined : dashes[(index - 1) % dashes.length],
      }),
    );
    const at = places[index]!;
    const className = `strong ${seriesClass(name, 'f')}`;
    shapes.push(element('circle', { cx: plotRight, cy: ends[index], r: 3.5, class: seriesClass(name, 'f') }));
    shapes.push(label(wrapText(one.title, 15, 1)[0] ?? '', plotRight + 12, at, { className }));
    shapes.push(label(formatBytes(one.bytesPerToken * longest), plotRight + 12, at + 15, { className: 'muted' }));
  });
  const sizes = series.map((one) => `${one.title} ${formatBytes(one.bytesPerToken * longest)}`).join(', ');
  return {
    width,
    height: Math.max(plotBottom + 50, places.at(-1)! + 30),
    title: `KV cache by context length, ${modelName}`,
    description: `The cache grows in proportion to the context. At ${formatCount(longest)} tokens: ${sizes}.`,
    shapes,
  };
}

/** Size of the KV cache by context length, before and after, as an SVG file. */
export function cacheSvg(report: CompressionReport): string {
  return svgDocument(cachePlot(compressionCacheSeries(report), report.contexts, report.model.name));
}
