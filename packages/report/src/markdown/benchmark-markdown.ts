import type { BenchmarkReport } from '../documents/benchmark-report.ts';
import { describeShape } from '../format/describe-layout.ts';
import { benchmarkTables } from '../tables/benchmark-tables.ts';
import { environmentTable } from '../tables/environment-table.ts';
import { escapeMarkdown } from './escape-markdown.ts';
import { markdownSection } from './markdown-report-table.ts';

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
