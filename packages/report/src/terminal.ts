import type { CacheDtype, EvaluationResult, Measurement } from '@kvlr/core';
import Table from 'cli-table3';
import type { BenchmarkReport } from './documents/benchmark-report.ts';
import type { CachePlan } from './documents/cache-plan.ts';
import type { ComparisonReport } from './documents/comparison-report.ts';
import type { CompressionReport, LayerSpectra } from './documents/compression-report.ts';
import type { FrontierReport } from './documents/frontier-report.ts';
import type { LongContextReport } from './documents/long-context-report.ts';
import type { TaskReport } from './documents/task-report.ts';
import { describeCacheElement, describeEvaluation, describeWorkTime, listReferences } from './format/describe.ts';
import {
  formatBytes,
  formatCount,
  formatMeasurement,
  formatPercent,
  formatRatioMeasurement,
  formatShareMeasurement,
  formatSignificant,
  stripControlCharacters,
  wrapText,
} from './format/format.ts';
import { benchmarkTables } from './tables/benchmark-tables.ts';
import {
  comparisonDetailTable,
  comparisonTable,
  groupByMethod,
  orderNote,
  orderTable,
} from './tables/comparison-tables.ts';
import { headlineTable } from './tables/compression-tables.ts';
import { describeEnergy, energyTable } from './tables/energy-table.ts';
import { bestTable, frontierNotes, frontierTable, planTable } from './tables/frontier-tables.ts';
import { longContextTables } from './tables/long-context-tables.ts';
import { bytesCell, cellText, environmentTable, left, type ReportTable, right } from './tables/report-table.ts';
import { taskTable } from './tables/task-tables.ts';

/** How a terminal stresses text. The app passes its colour functions; without them the text is plain. */
export interface TerminalStyles {
  strong(text: string): string;
  faint(text: string): string;
}

const plainStyles: TerminalStyles = { strong: (text) => text, faint: (text) => text };

/** Rules above the head, below it and at the end; no boxes. */
const rules = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '  ',
};

/** A table for a terminal: aligned columns, a rule under the head. Cells cannot carry control sequences. */
function terminalTable(table: ReportTable, styles: TerminalStyles = plainStyles): string {
  const text = (cell: ReportTable['rows'][number][number]) => stripControlCharacters(cellText(cell));
  const widths = table.columns.map((column, index) =>
    Math.max(column.title.length, ...table.rows.map((row) => text(row[index] ?? '').length)),
  );
  const drawn = new Table({
    chars: rules,
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [], compact: true },
    colAligns: table.columns.map((column) => column.align),
  });
  drawn.push(table.columns.map((column) => styles.strong(stripControlCharacters(column.title))));
  drawn.push(widths.map((width) => styles.faint('─'.repeat(width))));
  for (const row of table.rows) drawn.push(row.map(text));
  return drawn
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

const columns = 92;

/** Sentences under a table as faint lines of at most 92 columns, without control sequences. */
function terminalNotes(notes: readonly string[], styles: TerminalStyles): string[] {
  return notes.flatMap((note) => wrapText(stripControlCharacters(note), columns).map((line) => styles.faint(line)));
}

/** The first screen after a compression: what it cost, what it saves, and what stands behind the figures. */
export function compressionTerminal(report: CompressionReport, styles: TerminalStyles = plainStyles): string {
  const { environment, result } = report;
  const { total, remark } = describeWorkTime(report.stages);
  const run = [`Took ${total} on ${environment.backend}`];
  if (environment.peakMemoryBytes !== undefined) run.push(`peak memory ${formatBytes(environment.peakMemoryBytes)}`);
  const notes = [
    describeEvaluation(result),
    describeCacheElement(result.cache.bytesPerElement),
    `${run.join(', ')}.`,
    ...(remark ? [`Time: ${remark}.`] : []),
    ...(report.notes ?? []),
  ];
  return [
    styles.strong(stripControlCharacters(report.title)),
    '',
    terminalTable(headlineTable(report), styles),
    '',
    ...terminalNotes(notes, styles),
  ].join('\n');
}

/**
 * Perplexity of every method at every ratio. `details` adds, per ratio, the order of the methods, KL, agreement, cache,
 * parameters, time and reference figures (about 130 columns wide). Throws 'invalid-argument' without rows.
 */
export function comparisonTerminal(
  report: ComparisonReport,
  settings: { details?: boolean; styles?: TerminalStyles } = {},
): string {
  const styles = settings.styles ?? plainStyles;
  const { ratios } = groupByMethod(report);
  const section = (table: ReportTable) => [styles.strong(table.caption), '', terminalTable(table, styles), ''];
  const orders = settings.details ? (report.orders ?? []) : [];
  const references = settings.details ? listReferences(report) : undefined;
  const notes = [
    describeEvaluation(report.base),
    ...(settings.details ? [describeCacheElement(report.base.cache.bytesPerElement)] : []),
    ...(orders.length > 0 ? [orderNote] : []),
    ...(references ? [references] : []),
    ...(report.notes ?? []),
  ];
  return [
    styles.strong(stripControlCharacters(report.title)),
    '',
    ...section(comparisonTable(report)),
    ...orders.flatMap((order) => section(orderTable(report, order))),
    ...(settings.details ? ratios.flatMap((ratio) => section(comparisonDetailTable(report, ratio))) : []),
    ...terminalNotes(notes, styles),
  ].join('\n');
}

/** Perplexity at equal bytes: what is best within each budget, then every point. */
export function frontierTerminal(report: FrontierReport, styles: TerminalStyles = plainStyles): string {
  const section = (table: ReportTable) => [styles.strong(table.caption), '', terminalTable(table, styles), ''];
  return [
    styles.strong(stripControlCharacters(report.title)),
    '',
    ...section(frontierTable(report)),
    ...section(bestTable(report)),
    ...terminalNotes(frontierNotes(report), styles),
  ].join('\n');
}

/** What was chosen for an engine and a budget, and why. */
export function cachePlanTerminal(plan: CachePlan, styles: TerminalStyles = plainStyles): string {
  const { chosen, flags } = plan;
  const table = planTable(plan);
  const budget = `${formatPercent(plan.budget)} of ${formatBytes(plan.baseBytes)} at ${formatCount(plan.context)} tokens`;
  return [
    styles.strong(`${plan.engineTitle}, ${budget}: ${chosen.headsTitle}, cache ${chosen.cache}`),
    '',
    styles.strong(table.caption),
    '',
    terminalTable(table, styles),
    '',
    ...terminalNotes(
      [...plan.reasons, `Measured on ${plan.windowCount} windows; ± is one standard error, which predictions contain.`],
      styles,
    ),
    '',
    flags === undefined ? `${plan.engineTitle} needs no flags for it.` : `Flags        ${flags}`,
  ].join('\n');
}

/** One evaluated model by source of text, and beside its base where it was measured against one. */
export function evaluationTerminal(evaluation: EvaluationResult, styles: TerminalStyles = plainStyles): string {
  const against = evaluation.againstBase;
  const bySource: ReportTable = {
    caption: 'Perplexity by source of text',
    columns: [left('Source'), right('Perplexity')],
    rows: [
      ...Object.entries(evaluation.perplexityBySource).map(([source, value]) => [source, formatMeasurement(value)]),
      ['all', formatMeasurement(evaluation.perplexity)],
    ],
  };
  const rows: ReportTable['rows'] = [['KV cache per token', bytesCell(evaluation.cache.bytesPerToken)]];
  if (against) {
    rows.unshift(
      ['Perplexity of the base', formatMeasurement(against.basePerplexity)],
      ['Change', formatRatioMeasurement(against.perplexityRatio)],
      ['KL to base, nats per token', formatMeasurement(against.klDivergence)],
      ['Same top token as base', formatShareMeasurement(against.topOneAgreement)],
    );
  }
  const summary: ReportTable = { caption: 'Summary', columns: [left('Measure'), right('Value')], rows };
  return [
    terminalTable(bySource, styles),
    '',
    terminalTable(summary, styles),
    '',
    ...terminalNotes([describeEvaluation(evaluation), describeCacheElement(evaluation.cache.bytesPerElement)], styles),
  ].join('\n');
}

/** What tasks say of models side by side. */
export function tasksTerminal(report: TaskReport, styles: TerminalStyles = plainStyles): string {
  return [terminalTable(taskTable(report), styles), '', ...terminalNotes(report.notes, styles)].join('\n');
}

/** Whole texts scored by one model with its cache. */
export interface RollingRow {
  name: string;
  windowLength: number;
  stride: number;
  tokenCount: number;
  wordCount: number;
  byteCount: number;
  perplexity: Measurement;
  wordPerplexity: Measurement;
  bytePerplexity: Measurement;
  bitsPerByte: Measurement;
  /** Bits per byte more than the first row, paired over documents. */
  difference: Measurement | undefined;
}

/** Perplexity of whole texts by tokens, words and bytes, a row a model with its cache; at least one. */
export function rollingTerminal(rows: readonly RollingRow[], styles: TerminalStyles = plainStyles): string {
  const table: ReportTable = {
    caption: 'Perplexity of whole texts',
    columns: [
      left('Model and cache'),
      right('Token perplexity'),
      right('Word perplexity'),
      right('Byte perplexity'),
      right('Bits per byte'),
      ...(rows.length > 1 ? [right('Against the first')] : []),
    ],
    rows: rows.map(({ name, perplexity, wordPerplexity, bytePerplexity, bitsPerByte, difference }) => [
      name,
      ...[perplexity, wordPerplexity, bytePerplexity, bitsPerByte].map(formatMeasurement),
      ...(rows.length > 1 ? [difference === undefined ? '' : formatMeasurement(difference)] : []),
    ]),
  };
  const { windowLength, stride, tokenCount, wordCount, byteCount } = rows[0]!;
  const counts = [tokenCount, wordCount, byteCount].map(formatCount);
  const note =
    `${counts[0]} tokens, ${counts[1]} words, ${counts[2]} bytes, each token predicted once: windows of ${windowLength} ` +
    `tokens, each but the first predicts ${stride} more. ± is one standard error over documents.`;
  return [terminalTable(table, styles), '', ...terminalNotes([note], styles)].join('\n');
}

/** What models with their caches remember of long contexts. */
export function longContextTerminal(report: LongContextReport, styles: TerminalStyles = plainStyles): string {
  return [
    ...longContextTables(report).flatMap((table) => [
      styles.strong(table.caption),
      '',
      terminalTable(table, styles),
      '',
    ]),
    ...terminalNotes(report.notes, styles),
  ].join('\n');
}

/** Digits of a change in percent: halves change the perplexity by less than a thousandth of a percent. */
const CHANGE_DIGITS = 4;

/** One model with its cache kept in several dtypes, each beside the cache of f32, which comes first. */
export function cacheDtypesTerminal(
  evaluations: readonly { dtype: CacheDtype; evaluation: EvaluationResult }[],
  styles: TerminalStyles = plainStyles,
): string {
  const table: ReportTable = {
    caption: 'Dtypes of the KV cache',
    columns: [
      left('Cache'),
      right('Per token'),
      right('Perplexity'),
      right('Against f32'),
      right('KL to f32, nats'),
      right('Same top token'),
    ],
    rows: evaluations.map(({ dtype, evaluation: { perplexity, againstBase, cache } }) => [
      dtype,
      bytesCell(cache.bytesPerToken),
      formatMeasurement(perplexity),
      ...(againstBase
        ? [
            formatRatioMeasurement(againstBase.perplexityRatio, CHANGE_DIGITS),
            formatTiny(againstBase.klDivergence),
            formatShareMeasurement(againstBase.topOneAgreement),
          ]
        : []),
    ]),
  };
  const first = evaluations[0];
  const notes = first
    ? [
        describeEvaluation(first.evaluation),
        'Every key and value is read back from the cache, as in generating. Changes are paired over windows.',
      ]
    : [];
  return [terminalTable(table, styles), '', ...terminalNotes(notes, styles)].join('\n');
}

/** Value and error by their own sizes, which differ by powers of ten from row to row. */
function formatTiny({ value, standardError }: Measurement): string {
  const text = formatSignificant(value);
  return standardError === undefined ? text : `${text} ± ${formatSignificant(standardError)}`;
}

/** Per layer, the share of the energy of keys and values that a quarter and a half of the directions hold, and effective ranks. */
export function spectraTerminal(spectra: readonly LayerSpectra[], styles: TerminalStyles = plainStyles): string {
  const table = energyTable(spectra);
  return [
    styles.strong(table.caption),
    '',
    terminalTable(table, styles),
    '',
    ...terminalNotes([describeEnergy(spectra)], styles),
  ].join('\n');
}

/** The tables of a benchmark for a terminal, with what they were measured on. */
export function benchmarkTerminal(report: BenchmarkReport, styles: TerminalStyles = plainStyles): string {
  const tables = [...benchmarkTables(report), environmentTable(report.environment)];
  return [
    styles.strong(stripControlCharacters(report.title)),
    '',
    ...tables.flatMap((table) => [
      styles.strong(stripControlCharacters(table.caption)),
      '',
      terminalTable(table, styles),
      '',
    ]),
    ...terminalNotes(report.notes, styles),
  ].join('\n');
}
