import { KvlrError, type LayerBudget } from '@kvlr/core';
import type { ComparisonReport, ComparisonRow, MethodOrder, PairedDifference } from '../documents/comparison-report.ts';
import {
  formatChange,
  formatCount,
  formatDuration,
  formatMeasurement,
  formatParameters,
  formatRatio,
  formatRatioMeasurement,
  formatShareMeasurement,
  formatSignificant,
} from '../format/format.ts';
import { bytesCell, left, type ReportTable, right } from './report-table.ts';

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
      message: 'expected at least one row to compare, got none.',
      where: { argument: 'rows' },
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

/** Perplexity with one row per method and one column per ratio, the base in the first row. */
export function comparisonTable(report: ComparisonReport): ReportTable {
  const { methods, ratios } = groupByMethod(report);
  const heads = (ratio: number) => {
    const { keyValueHeads, headWidth = 1 } = report.rows.find((row) => row.ratio === ratio)!;
    return keyValueHeads * headWidth;
  };
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
  const withWidths = report.rows.some((row) => row.headWidth !== undefined);
  const { headDim } = report.model.shape;
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
    ...(withWidths ? [`${report.model.shape.numKeyValueHeads} of ${headDim}`, '1x'] : []),
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
        ...(withWidths ? widthCells(row, headDim) : []),
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
      ...(withWidths ? [right('KV heads'), right('Attention')] : []),
      right('Time'),
      ...(withCosts ? [right('Lost energy'), right('Measured error')] : []),
      ...(withBudgets ? [left('Kept, layer by layer')] : []),
      ...(withReference ? [right('Reference')] : []),
    ],
    rows: [withReference ? [...baseRow, ''] : baseRow, ...rows],
  };
}

/** KV heads and their width, and the arithmetic of a token that reads a cached one, against the base's. */
function widthCells({ layout, keyValueHeads, headWidth = 1 }: ComparisonRow, headDim: number): string[] {
  return layout === 'stock' ? [`${keyValueHeads} of ${headWidth * headDim}`, `${headWidth}x`] : ['', ''];
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

/** What the orders' figures mean. */
export const orderNote =
  'Differences between rows are paired: taken window by window, ± one standard error of their mean. Below two standard ' +
  'errors they are called noise, for then the order of the two is not established.';

/** The rows of one ratio by perplexity, each held against the one before it and against the best. */
export function orderTable(report: ComparisonReport, { ratio, ranks }: MethodOrder): ReportTable {
  const rowOf = (method: string): ComparisonRow =>
    report.rows.find((row) => row.method === method && row.ratio === ratio)!;
  // The usual row's name begins with that of contiguous groups or of the uniform budget: 'contiguous+light'.
  const usual = ranks.find(({ toUsual }) => toUsual)?.toUsual?.to.split('+')[0];
  return {
    caption: `Order at ${formatRatio(ratio)} of the KV cache`,
    columns: [
      left('Method'),
      right('Perplexity'),
      right('Behind the best'),
      right('Behind the one above'),
      ...(usual ? [right(`Against ${usual}`)] : []),
      left(''),
    ],
    rows: ranks.map(({ method, toNext, toBest, toUsual }) => [
      rowOf(method).title,
      formatMeasurement(rowOf(method).perplexity),
      toBest ? formatRatioMeasurement(toBest.perplexityRatio, 2) : '',
      toNext ? formatRatioMeasurement(toNext.perplexityRatio, 2) : '',
      ...(usual ? [toUsual ? formatRatioMeasurement(toUsual.perplexityRatio, 2) : ''] : []),
      describeNoise([toBest, toNext, toUsual], (to) => rowOf(to).title),
    ]),
  };
}

/** In words, from which rows this one cannot be told apart; the best named first. */
function describeNoise(differences: (PairedDifference | undefined)[], titleOf: (method: string) => string): string {
  const known = differences.filter((difference) => difference !== undefined);
  if (known.some(({ withinNoise }) => withinNoise === undefined)) return 'too few windows to tell';
  const near = known.filter(({ withinNoise }) => withinNoise).map(({ to }) => titleOf(to));
  return near.length === 0 ? '' : `within noise of ${[...new Set(near)].join(' and ')}`;
}
