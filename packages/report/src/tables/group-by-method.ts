import { KvlrError } from '@kvlr/core';
import type { ComparisonReport, ComparisonRow } from '../documents/comparison-report.ts';

/** The rows of one method, by ratio. */
export interface MethodRows {
  method: string;
  title: string;
  layout: ComparisonRow['layout'];
  byRatio: Map<number, ComparisonRow>;
}

/** Rows by method in the order in which methods first appear, and all ratios, largest share first. */
export function groupByMethod(report: ComparisonReport): { methods: MethodRows[]; ratios: number[] } {
  if (report.rows.length === 0) {
    throw new KvlrError('invalid-argument', {
      message: 'groupByMethod: expected at least one row to compare, got none.',
      hint: 'Run the comparison with at least one method and one ratio.',
      data: { title: report.title },
    });
  }
  const methods = new Map<string, MethodRows>();
  for (const row of report.rows) {
    const known = methods.get(row.method);
    const group = known ?? { method: row.method, title: row.title, layout: row.layout, byRatio: new Map() };
    group.byRatio.set(row.ratio, row);
    if (!known) methods.set(row.method, group);
  }
  const ratios = [...new Set(report.rows.map((row) => row.ratio))].sort((a, b) => b - a);
  return { methods: [...methods.values()], ratios };
}
