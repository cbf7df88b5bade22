import type { CachePlan } from '../documents/cache-plan.ts';
import {
  bestWithin,
  type FrontierPoint,
  type FrontierReport,
  paretoFront,
  shareOf,
} from '../documents/frontier-report.ts';
import { describeEvaluation } from '../format/describe.ts';
import {
  formatChange,
  formatCount,
  formatMeasurement,
  formatPercent,
  formatRatio,
  formatRatioMeasurement,
  formatShareMeasurement,
} from '../format/format.ts';
import { left, type ReportTable, right } from './report-table.ts';

/** Budgets that the table of the best names. */
const budgets = [1 / 2, 1 / 4, 1 / 8, 1 / 16];

/** Every point, fewest bytes last; those of the front at any context are marked. */
export function frontierTable(report: FrontierReport): ReportTable {
  const { contexts, points } = report;
  const fronts = contexts.map((_, context) => new Set(paretoFront(points, context)));
  const sorted = [...points].sort((a, b) => b.bytes[0]! - a.bytes[0]!);
  const timed = points.some(({ tokensPerSecond }) => tokensPerSecond !== undefined);
  return {
    caption: 'Bytes against quality',
    columns: [
      left('Heads'),
      left('Cache'),
      ...contexts.map((tokens) => right(`Bytes at ${formatCount(tokens)}`)),
      right('Perplexity'),
      right('Change'),
      right('KL, nats'),
      right('Same top token'),
      ...(timed ? [right('Tokens/s')] : []),
      left('Engines'),
    ],
    rows: sorted.map((point) => [
      point.headsTitle,
      point.cache,
      ...contexts.map((_, context) => `${percent(report, point, context)}${fronts[context]!.has(point) ? ' ◆' : ''}`),
      formatMeasurement(point.perplexity),
      formatRatioMeasurement(point.perplexityRatio, 2),
      formatMeasurement(point.klDivergence),
      formatShareMeasurement(point.topOneAgreement),
      ...(timed ? [point.tokensPerSecond === undefined ? '' : formatCount(Math.round(point.tokensPerSecond))] : []),
      point.engines.join(', '),
    ]),
  };
}

/** What is best within a half, a quarter, an eighth and a sixteenth of the bytes, at each context, in any engine and in llama.cpp. */
export function bestTable(report: FrontierReport): ReportTable {
  const describe = (point: FrontierPoint | undefined, context: number) =>
    point === undefined
      ? 'none measured'
      : `${point.headsTitle}, ${point.cache}: ${formatRatioMeasurement(point.perplexityRatio, 2)} at ${percent(report, point, context)}`;
  return {
    caption: 'The best within a budget',
    columns: [
      right('Budget'),
      right('Context'),
      left('Best in some engine'),
      left('llama.cpp'),
      left('Heads alone, f16'),
    ],
    rows: budgets.flatMap((budget) =>
      report.contexts.map((tokens, context) => {
        const alone = { ...report, points: report.points.filter(({ cache }) => cache === 'f16') };
        return [
          formatRatio(budget),
          formatCount(tokens),
          describe(bestWithin(report, budget, context), context),
          describe(bestWithin(report, budget, context, 'llama.cpp'), context),
          describe(bestWithin(alone, budget, context), context),
        ];
      }),
    ),
  };
}

function percent(report: FrontierReport, point: FrontierPoint, context: number): string {
  return formatPercent(shareOf(report, point, context));
}

/** Candidates of a plan that are listed. */
const listed = 12;

/** The best candidates of a plan, the chosen one marked. */
export function planTable({ candidates, chosen }: CachePlan): ReportTable {
  const shown = candidates.filter((candidate, place) => place < listed || candidate === chosen);
  const rest = candidates.length - shown.length;
  return {
    caption: `Candidates within the budget, the likeliest first${rest > 0 ? `; ${rest} more are predicted to be worse` : ''}`,
    columns: [left('Heads'), left('Cache'), right('Bytes'), right('Predicted'), right('Measured'), left('')],
    rows: shown.map((candidate) => [
      candidate.headsTitle,
      candidate.cache,
      formatPercent(candidate.bytes),
      formatChange(Math.expm1(candidate.predicted), 2),
      candidate.measured ? formatRatioMeasurement(candidate.measured, 2) : '',
      candidate === chosen ? 'chosen' : '',
    ]),
  };
}

/** How the tables are to be read. */
export function frontierNotes({ base, points, notes }: FrontierReport): string[] {
  const timed = points.some(({ tokensPerSecond }) => tokensPerSecond !== undefined);
  return [
    describeEvaluation(base),
    'Change is perplexity over that of the base with an exact cache, paired over windows. Bytes are exact shares of the base at two bytes a number: scales, padding, exact tokens and blocks that are not full yet included, on average over the last 32 lengths. ◆ marks what nothing beats in bytes and perplexity at that context.',
    'Windows are as long as the first context; the same perplexities stand at longer ones, where exact tokens weigh less.',
    ...(timed
      ? [
          'Tokens/s: generation behind a context as long as the windows, float32 weights, on the backend of this run, the median of tokens that caches took turns at; noisy where other work runs beside, and empty where the kernels have no such cache.',
        ]
      : []),
    'Engines: those that load the heads and have the cache.',
    ...notes,
  ];
}
