import { attentionProducts, countShapeParameters, type EvaluationResult } from '@kvlr/core';
import {
  type CompressionReport,
  isMeasured,
  type LayerReconstruction,
  type StageTiming,
} from '../documents/compression-report.ts';
import { describeLayout, formatWorkTime } from '../format/describe.ts';
import {
  formatChange,
  formatCount,
  formatFineShare,
  formatMeasurement,
  formatRatioMeasurement,
  formatShareMeasurement,
} from '../format/format.ts';
import { bytesCell, left, type ReportTable, right } from './report-table.ts';

/** What the compression cost and what it saves, each figure beside the base's. */
export function headlineTable(report: CompressionReport): ReportTable {
  const { base, result } = report;
  const saved = formatChange(result.cache.bytesPerToken / base.cache.bytesPerToken - 1);
  const rows: ReportTable['rows'] = [];
  if (isMeasured(base) && isMeasured(result)) rows.push(...costRows(base, result));
  rows.push(
    ['KV heads per layer', ...[report.model.shape, report.resultShape].map((shape) => headsCell(report, shape)), ''],
    ['KV cache per token', bytesCell(base.cache.bytesPerToken), bytesCell(result.cache.bytesPerToken), saved],
  );
  const longest = Math.max(...report.contexts);
  if (report.contexts.length > 0) {
    const [baseCell, resultCell] = [base, result].map(({ cache }) => bytesCell(cache.bytesPerToken * longest));
    rows.push([`KV cache at ${formatCount(longest)} tokens`, baseCell!, resultCell!, saved]);
  }
  if (widensHeads(report)) rows.push(...priceRows(report));
  return {
    caption: 'What it cost and what it saves',
    columns: [left(''), right('Base'), right('Result'), right('Change')],
    rows,
  };
}

/** What it cost in quality. */
function costRows(base: EvaluationResult, result: EvaluationResult): ReportTable['rows'] {
  const against = result.againstBase;
  const ratio = against?.perplexityRatio ?? { value: result.perplexity.value / base.perplexity.value };
  const perplexities = [base, result].map(({ perplexity }) => formatMeasurement(perplexity));
  const rows: ReportTable['rows'] = [['Perplexity', ...perplexities, formatRatioMeasurement(ratio)]];
  if (against) {
    rows.push(
      ['KL to base, nats per token', '0', formatMeasurement(against.klDivergence), ''],
      ['Same top token as base', '100%', formatShareMeasurement(against.topOneAgreement), ''],
    );
  }
  return rows;
}

function widensHeads({ model, resultShape }: CompressionReport): boolean {
  return model.shape.headDim !== resultShape.headDim;
}

function headsCell(report: CompressionReport, shape: CompressionReport['resultShape']): string {
  return widensHeads(report) ? `${describeLayout(shape)} of ${shape.headDim}` : describeLayout(shape);
}

/** What wide heads cost beside the bytes that they save. */
function priceRows({ model, resultShape }: CompressionReport): ReportTable['rows'] {
  const figures: [title: string, of: (shape: CompressionReport['resultShape']) => number][] = [
    ['Parameters', countShapeParameters],
    ['Attention, products per cached token', attentionProducts],
  ];
  return figures.map(([title, of]) => {
    const [before, after] = [of(model.shape), of(resultShape)];
    return [title, formatCount(before), formatCount(after), formatChange(after / before - 1)];
  });
}

/** Perplexity of base and result per source of text and over all; undefined where they were not measured. */
export function qualityTable({ base, result }: CompressionReport): ReportTable | undefined {
  if (!isMeasured(base) || !isMeasured(result)) return undefined;
  const rows: ReportTable['rows'] = [];
  for (const [source, measured] of Object.entries(result.perplexityBySource)) {
    const before = base.perplexityBySource[source];
    if (!before) continue;
    rows.push([
      source,
      formatMeasurement(before),
      formatMeasurement(measured),
      formatRatioMeasurement({ value: measured.value / before.value }),
      measured.tokenCount === undefined ? '' : formatCount(measured.tokenCount),
    ]);
  }
  const overall = result.againstBase?.perplexityRatio ?? { value: result.perplexity.value / base.perplexity.value };
  rows.push([
    'all',
    formatMeasurement(base.perplexity),
    formatMeasurement(result.perplexity),
    formatRatioMeasurement(overall),
    formatCount(result.tokenCount),
  ]);
  return {
    caption: 'Perplexity by source of text',
    columns: [left('Source'), right('Base'), right('Result'), right('Change'), right('Tokens')],
    rows,
  };
}

/** Whether a layer was trained behind the refit of its output projection. */
export function tookSteps(layer: LayerReconstruction): boolean {
  return lastStep(layer) > 0;
}

/** Held-out error of each layer before and after block reconstruction, or before and after the refit where no layer was trained. */
export function reconstructionTable(layers: readonly LayerReconstruction[]): ReportTable {
  const trained = layers.some(tookSteps);
  return {
    caption: `${trained ? 'Block reconstruction' : 'Output projections refitted'}, error on held-out calibration text`,
    columns: [
      ...[left('Layer'), right('Closed form'), right('After'), right('Change')],
      ...(trained ? [right('Steps')] : []),
    ],
    rows: layers.map((layer) => [
      String(layer.layer),
      formatFineShare(layer.heldOutBefore),
      formatFineShare(layer.heldOutAfter),
      formatChange(layer.heldOutAfter / layer.heldOutBefore - 1),
      ...(trained ? [formatCount(lastStep(layer))] : []),
    ]),
  };
}

function lastStep({ history }: LayerReconstruction): number {
  return Math.max(0, ...history.map(({ step }) => step));
}

function flatten(value: unknown, path: string): [string, string][] {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const entries = Object.entries(value);
    if (entries.length > 0)
      return entries.flatMap(([key, inner]) => flatten(inner, path === '' ? key : `${path}.${key}`));
  }
  if (value === undefined || path === '') return [];
  return [[path, typeof value === 'string' ? value : JSON.stringify(value)]];
}

/** The recipe as a list of settings, nested ones by their path: "keys.weighting | query". */
export function recipeTable(recipe: Record<string, unknown>): ReportTable {
  return { caption: 'Recipe', columns: [left('Setting'), left('Value')], rows: flatten(recipe, '') };
}

/** Time per stage and in all. */
export function stageTable(stages: readonly StageTiming[]): ReportTable {
  return {
    caption: 'Time by stage',
    columns: [left('Stage'), right('Time')],
    rows: [...stages.map((stage) => [stage.title, formatWorkTime([stage])]), ['all', formatWorkTime(stages)]],
  };
}
