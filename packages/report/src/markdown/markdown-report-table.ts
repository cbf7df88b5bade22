import { markdownTable } from 'markdown-table';
import { cellText, type ReportTable } from '../tables/report-table.ts';
import { escapeMarkdown } from './escape-markdown.ts';

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
