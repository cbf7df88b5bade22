import type { ComparisonReport } from '../documents/comparison-report.ts';
import { describeCacheElement, describeEvaluation } from '../format/describe-evaluation.ts';
import { describeShape } from '../format/describe-layout.ts';
import { formatMeasurement } from '../format/format-measurement.ts';
import { formatRatio } from '../format/format-ratio.ts';
import { listReferences } from '../format/list-references.ts';
import { element } from '../markup/element.ts';
import { cachePlot } from '../plots/cache-plot.ts';
import { comparisonPlot } from '../plots/comparison-plot.ts';
import { cacheTable } from '../tables/cache-table.ts';
import { comparisonCacheSeries } from '../tables/comparison-cache-series.ts';
import { comparisonDetailTable, comparisonTable } from '../tables/comparison-tables.ts';
import { environmentTable } from '../tables/environment-table.ts';
import { groupByMethod } from '../tables/group-by-method.ts';
import { orderNote, orderTable } from '../tables/order-table.ts';
import { htmlFigure } from './html-figure.ts';
import { htmlNotes, htmlPage, htmlSection } from './html-page.ts';
import { htmlTable } from './html-table.ts';

/** The comparison of methods as a self-contained HTML page. Throws 'invalid-argument' without rows. */
export function comparisonHtml(report: ComparisonReport): string {
  const { methods, ratios } = groupByMethod(report);
  const { orders = [] } = report;
  const series = comparisonCacheSeries(report);
  const references = listReferences(report);
  const caption =
    'Each bar starts at the base model, so its length is what the method costs; the pale band around its end is one ' +
    `standard error to either side.${references ? ` Upright ticks are reference figures. ${references}` : ''}`;
  return htmlPage({
    title: report.title,
    description: `${methods.length} ways to shrink the KV cache of ${report.model.name}, by perplexity.`,
    lead: [
      element('p', {}, element('strong', {}, report.model.name), ` · ${describeShape(report.model.shape)}.`),
      element(
        'p',
        {},
        `Base perplexity ${formatMeasurement(report.base.perplexity)}. ${describeEvaluation(report.base)} ` +
          'Stock layouts are ordinary grouped-query checkpoints that any engine loads; the others run in kvlr’s runtime.',
      ),
      htmlNotes(report.notes),
    ],
    body: [
      htmlSection(
        'What each method costs',
        htmlFigure('comparison', (width) => comparisonPlot(report, width), caption),
        htmlTable(comparisonTable(report), { baseRow: true }),
      ),
      orders.length > 0
        ? htmlSection(
            'Which is better, and where that is noise',
            element('p', {}, orderNote),
            orders.map((order) => htmlTable(orderTable(report, order), { baseRow: true })),
          )
        : undefined,
      htmlSection(
        'Every figure',
        element(
          'div',
          { class: 'detail' },
          ratios.map((ratio) => htmlTable(comparisonDetailTable(report, ratio), { baseRow: true })),
        ),
      ),
      htmlSection(
        'What each ratio saves',
        htmlFigure(
          'cache',
          (width) => cachePlot(series, report.contexts, report.model.name, width),
          `Memory of one sequence's KV cache, shares of ${ratios.map(formatRatio).join(', ')} kept. ` +
            describeCacheElement(report.base.cache.bytesPerElement),
        ),
        htmlTable(cacheTable(series, report.contexts)),
      ),
      report.environment
        ? htmlSection('Made on', element('div', { class: 'facts' }, htmlTable(environmentTable(report.environment))))
        : undefined,
    ],
  });
}
