import type { LayerBudget } from '@kvlr/core';
import type { ComparisonReport, ComparisonRow } from '../documents/comparison-report.ts';
import { formatDuration } from '../format/format-duration.ts';
import { formatMeasurement, formatShareMeasurement } from '../format/format-measurement.ts';
import { formatChange, formatCount, formatSignificant } from '../format/format-number.ts';
import { formatParameters } from '../format/format-parameters.ts';
import { formatRatio } from '../format/format-ratio.ts';
import { bytesCell } from './bytes-cell.ts';
import { groupByMethod } from './group-by-method.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** Perplexity with one row per method and one column per ratio, the base in the first row. */
export function comparisonTable(report: ComparisonReport): ReportTable {
  const { methods, ratios } = groupByMethod(report);
  const heads = (ratio: number) => report.rows.find((row) => row.ratio === ratio)!.keyValueHeads;
  return {
    caption: 'Perplexity by method and share of the KV cache kept',
    columns: [
      left('Method'),
      left('Layout'),
      ...ratios.map((ratio) =>
        right(`${formatRatio(ratio)} (${heads(ratio)} ${heads(ratio) === 1 ? 'head' : 'heads'})`),
      ),
    ],
    rows: [
      ['base model, not compressed', 'stock', ...ratios.map(() => formatMeasurement(report.base.perplexity))],
      ...methods.map((method) => [
        method.title,
        method.layout,
        ...ratios.map((ratio) => {
          const row = method.byRatio.get(ratio);
          return row ? formatMeasurement(row.perplexity) : '';
        }),
      ]),
    ],
  };
}

/** Everything measured about each method at one ratio, the base in the first row. */
export function comparisonDetailTable(report: ComparisonReport, ratio: number): ReportTable {
  const { base } = report;
  const withReference = report.rows.some((row) => row.reference);
  const withCosts = report.rows.some((row) => row.lostEnergy !== undefined || row.measuredError !== undefined);
  const withBudgets = report.rows.some((row) => row.budget);
  const withParameters = report.rows.some((row) => row.parameters !== undefined);
  const { methods } = groupByMethod(report);
  const parametersCell = (count: number | undefined) =>
    count === undefined ? '' : { text: formatParameters(count), exact: `${formatCount(count)} parameters` };
  const baseRow = [
    'base model, not compressed',
    'stock',
    formatMeasurement(base.perplexity),
    '',
    '0',
    '100%',
    bytesCell(base.cache.bytesPerToken),
    ...(withParameters ? [parametersCell(report.model.parameters)] : []),
    '',
    ...(withCosts ? ['0', '0'] : []),
    ...(withBudgets ? [''] : []),
  ];
  const rows = methods.flatMap((method) => {
    const row = method.byRatio.get(ratio);
    if (!row) return [];
    return [
      [
        row.title,
        row.layout,
        formatMeasurement(row.perplexity),
        formatChange(row.perplexity.value / base.perplexity.value - 1),
        formatMeasurement(row.klDivergence),
        formatShareMeasurement(row.topOneAgreement),
        bytesCell(row.bytesPerToken),
        ...(withParameters ? [parametersCell(row.parameters)] : []),
        row.seconds === undefined ? 'resumed' : formatDuration(row.seconds),
        ...(withCosts ? [row.lostEnergy, row.measuredError].map(costCell) : []),
        ...(withBudgets ? [budgetCell(row.budget)] : []),
        ...(withReference ? [row.reference ? formatSignificant(row.reference.perplexity) : ''] : []),
      ],
    ];
  });
  return {
    caption: `Every method at ${formatRatio(ratio)} of the KV cache`,
    columns: [
      left('Method'),
      left('Layout'),
      right('Perplexity'),
      right('vs base'),
      right('KL, nats'),
      right('Same top'),
      right('Cache/token'),
      ...(withParameters ? [right('Parameters')] : []),
      right('Time'),
      ...(withCosts ? [right('Lost energy'), right('Measured error')] : []),
      ...(withBudgets ? [left('Kept, layer by layer')] : []),
      ...(withReference ? [right('Reference')] : []),
    ],
    rows: [withReference ? [...baseRow, ''] : baseRow, ...rows],
  };
}

function costCell(cost: number | undefined): string {
  return cost === undefined ? '' : formatSignificant(cost);
}

/** "2 1 1 2 2 4" for KV heads, "keys 64 32; values 64 96" for numbers per token. */
function budgetCell(budget: ComparisonRow['budget']): string {
  if (!budget) return '';
  const list = (side: keyof LayerBudget) => budget.layers.map((layer) => layer[side]).join(' ');
  return budget.unit === 'heads' ? list('keys') : `keys ${list('keys')}; values ${list('values')}`;
}
