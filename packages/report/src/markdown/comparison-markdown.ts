import type { ComparisonReport } from '../documents/comparison-report.ts';
import { describeCacheElement, describeEvaluation } from '../format/describe-evaluation.ts';
import { describeShape } from '../format/describe-layout.ts';
import { listReferences } from '../format/list-references.ts';
import { cacheTable } from '../tables/cache-table.ts';
import { comparisonCacheSeries } from '../tables/comparison-cache-series.ts';
import { comparisonDetailTable, comparisonTable } from '../tables/comparison-tables.ts';
import { environmentTable } from '../tables/environment-table.ts';
import { groupByMethod } from '../tables/group-by-method.ts';
import { orderNote, orderTable } from '../tables/order-table.ts';
import { escapeMarkdown } from './escape-markdown.ts';
import { markdownReportTable, markdownSection } from './markdown-report-table.ts';

/** The comparison of methods as GitHub-flavoured Markdown. Throws 'invalid-argument' without rows. */
export function comparisonMarkdown(report: ComparisonReport): string {
  const { ratios } = groupByMethod(report);
  const references = listReferences(report);
  const { base, orders = [] } = report;
  const parts = [
    `# ${escapeMarkdown(report.title)}`,
    `Model: ${escapeMarkdown(report.model.name)} (${escapeMarkdown(describeShape(report.model.shape))}).`,
    markdownReportTable(comparisonTable(report)),
    escapeMarkdown(`${describeEvaluation(base)} ${describeCacheElement(base.cache.bytesPerElement)}`),
    ...(report.notes ?? []).map((note) => `> ${escapeMarkdown(note)}`),
    ...orders.map((order) => markdownSection(orderTable(report, order))),
    ...(orders.length > 0 ? [orderNote] : []),
    ...ratios.map((ratio) => markdownSection(comparisonDetailTable(report, ratio))),
    ...(references ? [escapeMarkdown(references)] : []),
    markdownSection(cacheTable(comparisonCacheSeries(report), report.contexts)),
    ...(report.environment ? [markdownSection(environmentTable(report.environment))] : []),
  ];
  return `${parts.join('\n\n')}\n`;
}
