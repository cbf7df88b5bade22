import { type Checkpoint, countParameters, type RunControl } from '@kvlr/core';
import type { RecipeInput } from '@kvlr/core/schemas';
import { cachedLogits, comparePerplexities } from '@kvlr/evaluation';
import {
  type ComparisonReport,
  type ComparisonRow,
  comparisonHtml,
  comparisonMarkdown,
  comparisonSvg,
  type MethodOrder,
  type PairedDifference,
  type RankedMethod,
  type RunEnvironment,
} from '@kvlr/report';
import { reportContexts } from '../models/facts.ts';
import type { RunnerRequest } from '../models/runner.ts';
import type { RunTexts } from '../plan.ts';
import { RunContext } from '../run/context.ts';
import { artefactNames, MemoryRunStore, type RunStore, writeText } from '../run/store.ts';
import { beginComparison, evaluateOriginal } from './begin.ts';
import type { ComparedRows } from './rows.ts';
import { runRow } from './run-row.ts';

export interface ComparisonRequest extends RunControl {
  model: Checkpoint;
  /** The model's name for people. Default: its location. */
  modelName?: string;
  /** Where the model can be had again, for the recipe: a hub id, 'embedded', a path. Default: its location. */
  modelLocation?: string;
  /** What all rows have that do not say otherwise: calibration, evaluation, element type. */
  recipe?: RecipeInput;
  texts: RunTexts;
  /** Made by `methodRows`, `initialisationRows`, `groupingRows`, `budgetRows` or the caller. */
  rows: ComparedRows;
  /** Figures to hold the rows against, for example those of a prototype. */
  references?: (method: string, keyValueHeads: number) => ComparisonRow['reference'];
  store?: RunStore;
  runtime?: RunnerRequest;
  environment?: () => Partial<RunEnvironment>;
  /** Throws where the model is no longer what it was when the run began. */
  checkSource?: () => Promise<void>;
}

/**
 * Compresses a model row by row and evaluates every row on the same windows against the same base: an ablation as one table. One
 * pass gathers the statistics for all, and the base runs once. Finished rows stay in the store; a comparison that was cut goes on
 * with the next row. What `kvlr compare` does.
 */
export async function compare(request: ComparisonRequest): Promise<ComparisonReport> {
  const { model, rows: compared } = request;
  const modelName = request.modelName ?? model.location;
  const context = new RunContext(request.store ?? new MemoryRunStore(), request);
  const { recipe, texts, means } = await beginComparison(context, request, compared.rows);
  const inputs = texts.evaluation.map(({ tokenIds }) => tokenIds.slice(0, -1));
  return means.runner.use(model, inputs, async (baseModel) => {
    const baseLogits = cachedLogits(baseModel);
    const base = await evaluateOriginal(context, { model, recipe, texts, baseLogits });
    const rows: ComparisonRow[] = [];
    for (const wanted of compared.rows) {
      const { modelLocation } = request;
      const row = await runRow(context, wanted, { model, modelLocation, recipe, texts, means, baseLogits });
      rows.push({ ...row, reference: request.references?.(row.method, row.keyValueHeads) });
    }
    const usualOf = (name: string) => compared.rows.find((row) => row.name === name)?.usual;
    return writeComparison(context, {
      title: `${modelName}: ${compared.title}`,
      model: { name: modelName, shape: model.shape, parameters: countParameters(model) },
      base,
      rows,
      orders: orderRows(rows, base.windowLength, usualOf),
      contexts: reportContexts(model.shape),
      environment: context.environment(means.runner.description),
      notes: [
        ...compared.notes,
        'Times are those of each row alone, on the wall clock, all runs together where one was cut: only the statistics, which rows share, are left out.',
      ],
    });
  });
}

function writeComparison(context: RunContext, report: ComparisonReport): Promise<ComparisonReport> {
  const { store } = context;
  return context.stage('report', 'Report', async () => {
    await writeText(store, artefactNames.comparisonMarkdown, comparisonMarkdown(report));
    await writeText(store, artefactNames.comparisonHtml, comparisonHtml(report));
    await writeText(store, artefactNames.comparisonPicture, comparisonSvg(report));
    await writeText(store, artefactNames.comparisonData, `${JSON.stringify(report, undefined, 2)}\n`);
    return report;
  });
}

/**
 * For each ratio its rows by perplexity, the best first, each with the paired difference to the row before it and to the best.
 *
 * @param windowLength Tokens of each window that the rows were evaluated on; all but the first are predicted.
 * @param usualOf Name of the row of contiguous groups, or of the uniform budget, that a row is held against too.
 */
export function orderRows(
  rows: readonly ComparisonRow[],
  windowLength: number,
  usualOf: (method: string) => string | undefined = () => undefined,
): MethodOrder[] {
  const ratios = [...new Set(rows.map(({ ratio }) => ratio))].sort((a, b) => b - a);
  return ratios.map((ratio) => {
    const sorted = rows.filter((row) => row.ratio === ratio).sort((a, b) => a.perplexity.value - b.perplexity.value);
    const difference = (row: ComparisonRow, better: ComparisonRow): PairedDifference | undefined =>
      row.windows &&
      better.windows && { to: better.method, ...comparePerplexities(row.windows, better.windows, windowLength - 1) };
    const ranks = sorted.map((row, place): RankedMethod => {
      const usual = sorted.find(({ method }) => method !== row.method && method === usualOf(row.method));
      const toUsual = usual && difference(row, usual);
      if (place === 0) return { method: row.method, ...(toUsual && { toUsual }) };
      return {
        method: row.method,
        ...(toUsual && { toUsual }),
        toNext: difference(row, sorted[place - 1]!),
        toBest: difference(row, sorted[0]!),
      };
    });
    return { ratio, ranks };
  });
}
