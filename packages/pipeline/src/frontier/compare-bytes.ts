import { countParameters, halfCacheBytes, type RunControl } from '@kvlr/core';
import { cachedLogits } from '@kvlr/evaluation';
import { type FrontierReport, frontierMarkdown, frontierSvg, type RunEnvironment } from '@kvlr/report';
import { beginComparison, type ComparedModel, evaluateOriginal } from '../compare/begin.ts';
import type { ComparedRows } from '../compare/rows.ts';
import { RunContext } from '../run/context.ts';
import { artefactNames, MemoryRunStore, type RunStore, writeText } from '../run/store.ts';
import type { NamedCache } from './caches.ts';
import { measureHeads } from './measure-heads.ts';

export interface BytesComparisonRequest extends ComparedModel, RunControl {
  /** Compressed heads that stand beside the original's: see `headsRows`. */
  rows: ComparedRows;
  /** What each of them is read through. */
  caches: readonly NamedCache[];
  /** Further contexts at which bytes are counted, beside the length of the windows. */
  contexts: readonly number[];
  store?: RunStore | undefined;
  environment?: (() => Partial<RunEnvironment>) | undefined;
  checkSource?: (() => Promise<void>) | undefined;
}

/**
 * Perplexity, KL divergence and agreement of every row of heads through every cache, against exact bytes: heads alone, bits alone, and
 * both. Windows are read as if their tokens were generated one by one behind the cache. Measured points stay in the store. What `kvlr
 * compare --bytes` does.
 */
export async function compareBytes(request: BytesComparisonRequest): Promise<FrontierReport> {
  const { model, rows, caches, modelName = model.location, modelLocation } = request;
  const context = new RunContext(request.store ?? new MemoryRunStore(), request);
  const begun = await beginComparison(context, request, rows.rows);
  const { recipe, means } = begun;
  const windowTokens = recipe.evaluation.windowLength - 1;
  const contexts = [...new Set([windowTokens, ...request.contexts])].sort((a, b) => a - b);
  const inputs = begun.texts.evaluation.map(({ tokenIds }) => tokenIds.slice(0, -1));
  return means.runner.use(model, inputs, async (baseModel) => {
    const baseLogits = cachedLogits(baseModel);
    const base = await evaluateOriginal(context, { model, recipe, texts: begun.texts, baseLogits });
    const shared = { ...begun, model, modelLocation, baseLogits, contexts, timed: true };
    const measured = [];
    for (const row of [undefined, ...rows.rows]) measured.push(await measureHeads(context, row, caches, shared));
    const report: FrontierReport = {
      title: `${modelName}: perplexity at equal bytes`,
      model: { name: modelName, shape: model.shape, parameters: countParameters(model) },
      base,
      contexts,
      baseBytes: contexts.map((tokens) => halfCacheBytes(model.shape, tokens)),
      points: measured.flatMap(({ points }) => points),
      environment: context.environment(means.runner.description),
      notes: [...rows.notes, ...measured.flatMap(({ notes }) => notes)],
    };
    return await context.stage('report', 'Report', async () => {
      await writeText(context.store, artefactNames.frontierMarkdown, frontierMarkdown(report));
      await writeText(context.store, artefactNames.frontierPicture, frontierSvg(report));
      await writeText(context.store, artefactNames.frontierData, `${JSON.stringify(report, undefined, 2)}\n`);
      return report;
    });
  });
}
