import type { LayerHeads } from '../documents/compression-report.ts';
import { formatPercent } from '../format/format.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** The groups of each layer, and the mean affinity of heads that share one and of those that do not. */
export function headsTable(layers: readonly LayerHeads[]): ReportTable {
  return {
    caption: 'Heads that share one, and how much two heads have in common on average',
    columns: [left('Layer'), left('Groups'), right('That share one'), right('That do not')],
    rows: layers.map(({ layer, groups, affinity }) => {
      const groupOf = new Map(groups.flatMap((heads, group) => heads.map((head) => [head, group])));
      const pairs = affinity.flatMap((row, first) =>
        row.slice(0, first).map((value, second) => ({ value, shared: groupOf.get(first) === groupOf.get(second) })),
      );
      const mean = (shared: boolean) => {
        const values = pairs.filter((pair) => pair.shared === shared).map(({ value }) => value);
        return values.length === 0 ? '' : formatPercent(values.reduce((sum, value) => sum + value, 0) / values.length);
      };
      return [String(layer), groups.map((heads) => heads.join(' ')).join(' | '), mean(true), mean(false)];
    }),
  };
}
