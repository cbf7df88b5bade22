import { markdownTable } from 'markdown-table';
import type { AttentionReport, BenchmarkReport, EngineReport } from '../documents/benchmark-report.ts';
import type { ComparisonReport } from '../documents/comparison-report.ts';
import type { CompressionReport } from '../documents/compression-report.ts';
import type { FrontierReport } from '../documents/frontier-report.ts';
import type { LongContextReport } from '../documents/long-context-report.ts';
import { describeCacheElement, describeEvaluation, describeShape, listReferences } from '../format/describe.ts';
import { stripControlCharacters } from '../format/format.ts';
import { alternativesNote, alternativesTable } from '../tables/alternatives-table.ts';
import { attentionTable, benchmarkTables, engineTable } from '../tables/benchmark-tables.ts';
import {
  comparisonDetailTable,
  comparisonTable,
  groupByMethod,
  orderNote,
  orderTable,
} from '../tables/comparison-tables.ts';
import {
  headlineTable,
  qualityTable,
  recipeTable,
  reconstructionTable,
  stageTable,
} from '../tables/compression-tables.ts';
import { energyTable } from '../tables/energy-table.ts';
import { bestTable, frontierNotes, frontierTable } from '../tables/frontier-tables.ts';
import { headsTable } from '../tables/heads-table.ts';
import { longContextTables } from '../tables/long-context-tables.ts';
import {
  cacheTable,
  cellText,
  comparisonCacheSeries,
  compressionCacheSeries,
  environmentTable,
  type ReportTable,
} from '../tables/report-table.ts';

/** Text for one line of GitHub-flavoured Markdown: nothing in it is read as markup, HTML, a link or a cell's end. */
export function escapeMarkdown(text: string): string {
  return stripControlCharacters(text)
    .replace(/[\\`*_[\]<>|~$&]/g, '\\$&')
    .replace(/(https?|ftp)(?=:)|www(?=\.)/gi, '$&\u200b');
}

/** A table in GitHub-flavoured Markdown, without its caption. */
export function markdownReportTable(table: ReportTable): string {
  const head = table.columns.map((column) => escapeMarkdown(column.title));
  const body = table.rows.map((row) => row.map((cell) => escapeMarkdown(cellText(cell))));
  return markdownTable([head, ...body], { align: table.columns.map((column) => column.align) });
}

/** A heading of the second level from the caption, then the table. */
export function markdownSection(table: ReportTable): string {
  return `## ${escapeMarkdown(table.caption)}\n\n${markdownReportTable(table)}`;
}

/** The whole report on one compressed checkpoint as GitHub-flavoured Markdown. */
export function compressionMarkdown(report: CompressionReport): string {
  const { result } = report;
  const quality = qualityTable(report);
  const parts = [
    `# ${escapeMarkdown(report.title)}`,
    `Base model: ${escapeMarkdown(report.model.name)} (${escapeMarkdown(describeShape(report.model.shape))}).`,
    markdownReportTable(headlineTable(report)),
    escapeMarkdown(`${describeEvaluation(result)} ${describeCacheElement(result.cache.bytesPerElement)}`),
    ...(report.notes ?? []).map((note) => `> ${escapeMarkdown(note)}`),
    ...(quality ? [markdownSection(quality)] : []),
    ...(report.alternatives
      ? [markdownSection(alternativesTable(report.alternatives)), escapeMarkdown(alternativesNote(report.alternatives))]
      : []),
    markdownSection(cacheTable(compressionCacheSeries(report), report.contexts)),
  ];
  if (report.spectra?.length) parts.push(markdownSection(energyTable(report.spectra)));
  if (report.heads?.length) parts.push(markdownSection(headsTable(report.heads)));
  if (report.reconstruction?.length) parts.push(markdownSection(reconstructionTable(report.reconstruction)));
  parts.push(
    markdownSection(recipeTable(report.recipe)),
    markdownSection(stageTable(report.stages)),
    markdownSection(environmentTable(report.environment)),
  );
  return `${parts.join('\n\n')}\n`;
}

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

/**
 * Perplexity at equal bytes as GitHub-flavoured Markdown.
 *
 * @param picture Where the plot lies, seen from the document.
 */
export function frontierMarkdown(report: FrontierReport, picture = 'frontier.svg'): string {
  const parts = [
    `# ${escapeMarkdown(report.title)}`,
    `Model: ${escapeMarkdown(report.model.name)} (${escapeMarkdown(describeShape(report.model.shape))}).`,
    `![Change of perplexity against bytes](${picture})`,
    markdownSection(bestTable(report)),
    markdownSection(frontierTable(report)),
    ...frontierNotes(report).map((note) => `> ${escapeMarkdown(note)}`),
    ...(report.environment ? [markdownSection(environmentTable(report.environment))] : []),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** What models with their caches remember of long contexts, as GitHub-flavoured Markdown. */
export function longContextMarkdown(report: LongContextReport): string {
  const parts = [
    `# ${escapeMarkdown(report.title)}`,
    ...longContextTables(report).map(markdownSection),
    ...report.notes.map((note) => `> ${escapeMarkdown(note)}`),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** A benchmark as GitHub-flavoured Markdown. */
export function benchmarkMarkdown(report: BenchmarkReport): string {
  const [base] = report.models;
  const parts = [
    `# ${escapeMarkdown(report.title)}`,
    ...(base ? [`Base: ${escapeMarkdown(base.name)} (${escapeMarkdown(describeShape(base.shape))}).`] : []),
    ...benchmarkTables(report).map(markdownSection),
    ...report.notes.map((note) => `> ${escapeMarkdown(note)}`),
    markdownSection(environmentTable(report.environment)),
  ];
  return `${parts.join('\n\n')}\n`;
}

/** Attention alone as GitHub-flavoured Markdown. */
export function attentionMarkdown(report: AttentionReport): string {
  return oneTable(report, attentionTable(report));
}

/** Engines side by side as GitHub-flavoured Markdown. */
export function engineMarkdown(report: EngineReport): string {
  return oneTable(report, engineTable(report));
}

function oneTable({ title, notes, environment }: AttentionReport | EngineReport, table: ReportTable): string {
  const parts = [
    `# ${escapeMarkdown(title)}`,
    markdownSection(table),
    ...notes.map((note) => `> ${escapeMarkdown(note)}`),
    markdownSection(environmentTable(environment)),
  ];
  return `${parts.join('\n\n')}\n`;
}
