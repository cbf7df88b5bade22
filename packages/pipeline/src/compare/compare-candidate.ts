import { resolveMethod } from '@kvlr/compression';
import { cacheSize, countParameters, type EvaluationResult } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { evaluate } from '@kvlr/evaluation';
import { type ComparisonRow, layoutKind } from '@kvlr/report';
import { roundModel } from '../models/round-model.ts';
import { describeRecovery } from '../recipe/describe-recovery.ts';
import { methodName } from '../recipe/method-name.ts';
import type { RunContext } from '../run/run-context.ts';
import { runKeys } from '../run/run-keys.ts';
import { artefactKey, loadJson, saveJson } from '../store/artefact.ts';
import { addEfforts } from '../store/effort.ts';
import { MemoryRunStore } from '../store/memory-run-store.ts';
import { subStore } from '../store/sub-store.ts';
import type { Candidate } from './candidate.ts';
import type { CandidateRequest } from './candidate-request.ts';
import { compressCandidate } from './compress-candidate.ts';
import { groupingCosts } from './grouping-costs.ts';

/** Raised when rows come to hold more: rows that were kept without it are judged again. */
const rowForm = { ofMethods: 2, ofGroupings: 3, ofBudgets: 4 };

/** Compresses and judges one candidate, or takes its row from an earlier run. */
export async function compareCandidate(context: RunContext, request: CandidateRequest): Promise<ComparisonRow> {
  const { candidate, model } = request;
  const { name, title, keyValueHeads, method, recovery, budget } = candidate;
  const ownMethod = request.ownMethods?.get(methodName(method));
  const choice = candidate.grouping ? candidate.grouping.choice : request.grouping;
  const grouping = candidate.grouping?.name ?? request.recipe.grouping;
  const recipe: Recipe = { ...request.recipe, method, keyValueHeads, grouping, recovery, budget };
  const keys = await runKeys({
    ...request.inputs,
    groupingHash: choice?.hash,
    methodHash: ownMethod?.hash,
    budgetHash: candidate.budgetChoice?.hash,
    recipe,
    keyValueHeads,
  });
  const key = await artefactKey({ evaluation: keys.evaluation }, { rowForm: formOf(candidate) });
  const fileName = (text: string) => `rows/${text.replace(/[^\w.-]+/g, '_')}-${keyValueHeads}`;
  const rowName = fileName(name);
  return context.stage('evaluation', `${title}, ${keyValueHeads} KV heads`, async (control, watch) => {
    const kept = await loadJson<ComparisonRow>(context.store, `${rowName}.json`, key);
    if (kept) {
      const { value, effort } = kept;
      return { value: { ...value, title }, skipped: true, takenOver: [effort], detail: describe(value) };
    }
    // Closed forms are quicker to compute again than to keep; reconstructed layers are not.
    const keeps = describeRecovery(recovery) !== undefined || candidate.artefacts !== undefined;
    const parts = context.part(
      keeps ? subStore(context.store, `${fileName(candidate.artefacts ?? name)}/`) : new MemoryRunStore(),
    );
    const compression = await compressCandidate(parts, request, { recipe, keys, choice });
    const { compressed, groups, seconds } = compression;
    const dtype = recipe.dtype === 'source' ? undefined : recipe.dtype;
    const written = await roundModel(compressed, model, dtype);
    const result = await request.runner.use(written, (candidateModel) =>
      evaluate({
        ...control,
        model: candidateModel,
        modelId: written.id,
        base: request.baseLogits,
        baseModelId: model.id,
        windows: request.windows,
        cache: cacheSize(written.shape, request.bytesPerElement),
      }),
    );
    const ratio = keyValueHeads / model.shape.numKeyValueHeads;
    const { statistics, blockInputs } = request;
    const costs =
      candidate.grouping &&
      (await groupingCosts({
        model,
        statistics,
        groups,
        blockInputs,
        method: ownMethod?.method ?? resolveMethod(method),
      }));
    const layout = layoutKind(written.shape);
    const parameters = countParameters(written);
    const byLayer = candidate.comparesBudgets && { budget: compression.budget };
    const described = { method: name, title, layout, ratio, keyValueHeads, parameters, seconds, ...costs, ...byLayer };
    const row = toRow(described, result);
    const { earlier } = parts;
    await saveJson(context.store, `${rowName}.json`, { key, effort: addEfforts([earlier, watch.total()]) }, row);
    return { value: row, takenOver: [earlier], detail: describe(row) };
  });
}

function formOf({ grouping, comparesBudgets }: Candidate): number {
  if (comparesBudgets) return rowForm.ofBudgets;
  return grouping ? rowForm.ofGroupings : rowForm.ofMethods;
}

function toRow(
  row: Omit<ComparisonRow, 'perplexity' | 'klDivergence' | 'topOneAgreement' | 'bytesPerToken' | 'windows'>,
  result: EvaluationResult,
): ComparisonRow {
  const { klDivergence, topOneAgreement } = result.againstBase!;
  const { bytesPerToken } = result.cache;
  const { perplexity, windows } = result;
  return { ...row, perplexity, klDivergence, topOneAgreement, bytesPerToken, windows };
}

function describe(row: ComparisonRow): string {
  return `perplexity ${row.perplexity.value.toFixed(2)}, KL ${row.klDivergence.value.toFixed(4)}`;
}
