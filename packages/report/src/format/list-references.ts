import type { ComparisonReport } from '../documents/comparison-report.ts';

/** One sentence that says where reference figures come from; undefined when the report has none. */
export function listReferences(report: ComparisonReport): string | undefined {
  const sources = [...new Set(report.rows.flatMap((row) => (row.reference ? [row.reference.source] : [])))];
  return sources.length === 0 ? undefined : `Reference perplexities: ${sources.join('; ')}.`;
}
