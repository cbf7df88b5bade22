import type { ComparisonReport } from '../documents/comparison-report.ts';
import type { CompressionReport } from '../documents/compression-report.ts';
import { cachePlot } from './cache-plot.ts';
import { comparisonPlot } from './comparison-plot.ts';
import { svgDocument } from './plot-frame.ts';

/** Perplexity by method and ratio as an SVG file. Throws 'invalid-argument' without rows. */
export function comparisonSvg(report: ComparisonReport): string {
  return svgDocument(comparisonPlot(report));
}

/** Size of the KV cache by context length, before and after, as an SVG file. */
export function cacheSvg(report: CompressionReport): string {
  const series = [
    { title: 'Base', bytesPerToken: report.base.cache.bytesPerToken },
    { title: 'Result', bytesPerToken: report.result.cache.bytesPerToken },
  ];
  return svgDocument(cachePlot(series, report.contexts, report.model.name));
}
