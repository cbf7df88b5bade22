import type { AttentionReport } from '../documents/attention-report.ts';
import type { EngineReport } from '../documents/engine-report.ts';
import { attentionTable } from '../tables/attention-table.ts';
import { engineTable } from '../tables/engine-table.ts';
import { environmentTable } from '../tables/environment-table.ts';
import type { ReportTable } from '../tables/report-table.ts';
import { escapeMarkdown } from './escape-markdown.ts';
import { markdownSection } from './markdown-report-table.ts';

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
