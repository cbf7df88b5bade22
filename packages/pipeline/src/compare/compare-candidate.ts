import { applyCompression } from '@kvlr/checkpoint';
import { resolveMethod } from '@kvlr/compression';
import {
  type CalibrationStatistics,
  cacheSize,
  countParameters,
  type EvaluationResult,
  type LogitSource,
  type ModelSource,
} from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { type EvaluationWindow, evaluate } from '@kvlr/evaluation';
import { resolveGrouping } from '@kvlr/grouping';
import { type ComparisonRow, layoutKind } from '@kvlr/report';
import { describeRecovery } from '../recipe/describe-recovery.ts';
import { methodName } from '../recipe/method-name.ts';
import { gatherAttendedMoments } from '../run/gather-attended-moments.ts';
import type { ModelRunner } from '../run/model-runner.ts';
import type { GroupingChoice, MethodChoice } from '../run/plugin-choices.ts';
import type { RecordedInputs } from '../run/record-block-inputs.ts';
import { roundModel } from '../run/round-model.ts';
import type { RunContext } from '../run/run-context.ts';
import { type RunKeys, runKeys } from '../run/run-keys.ts';
import { chooseGroups } from '../stages/choose-groups.ts';
import { computeFactors } from '../stages/compute-factors.ts';
import { recoverStudent } from '../stages/recover-student.ts';
import { artefactKey, loadJson, saveJson } from '../store/artefact.ts';
import { MemoryRunStore } from '../store/memory-run-store.ts';
import { subStore } from '../store/sub-store.ts';
import type { ModelWorkers } from '../workers/model-workers.ts';
import type { Candidate } from './candidate.ts';
import { groupingCosts } from './grouping-costs.ts';

export interface CandidateRequest {
  candidate: Candidate;
  model: ModelSource;
  recipe: Recipe;
  grouping: GroupingChoice | undefined;
  ownMethods: ReadonlyMap<string, MethodChoice> | undefined;
  statistics: CalibrationStatistics;
  runner: ModelRunner;
  baseLogits: LogitSource;
  windows: readonly EvaluationWindow[];
  bytesPerElement: number;
  calibrationIds: () => Promise<Int32Array>;
  blockInputs: RecordedInputs;
  workers: ModelWorkers | undefined;
  inputs: { modelId: string; calibrationHash: string; evaluationHash: string };
}

/** Raised when rows come to hold more: rows that were kept without it are judged again. */
const rowForm = { ofMethods: 2, ofGroupings: 3 };

/** Compresses and judges one candidate, or takes its row from an earlier run. */
export async function compareCandidate(context: RunContext, request: CandidateRequest): Promise<ComparisonRow> {
  const { candidate, model } = request;
  const { name, title, keyValueHeads, method, recovery } = candidate;
  const ownMethod = request.ownMethods?.get(methodName(method));
  const choice = candidate.grouping ? candidate.grouping.choice : request.grouping;
  const grouping = candidate.grouping?.name ?? request.recipe.grouping;
  const recipe: Recipe = { ...request.recipe, method, keyValueHeads, grouping, recovery };
  const keys = await runKeys({
    ...request.inputs,
    groupingHash: choice?.hash,
    methodHash: ownMethod?.hash,
    recipe,
    keyValueHeads,
  });
  const key = await artefactKey(
    { evaluation: keys.evaluation },
    { rowForm: candidate.grouping ? rowForm.ofGroupings : rowForm.ofMethods },
  );
  const rowName = `rows/${name.replace(/[^\w.-]+/g, '_')}-${keyValueHeads}`;
  return context.stage('evaluation', `${title}, ${keyValueHeads} KV heads`, async (control) => {
    const kept = await loadJson<ComparisonRow>(context.store, `${rowName}.json`, key);
    if (kept) return { value: { ...kept, title }, skipped: true, detail: describe(kept) };
    // Closed forms are quicker to compute again than to keep; reconstructed layers are not.
    const store = describeRecovery(recovery) ? subStore(context.store, `${rowName}/`) : new MemoryRunStore();
    const parts = context.part(store);
    const { compressed, groups, seconds } = await compressCandidate(parts, request, recipe, keys, choice);
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
    const row = toRow({ method: name, title, layout, ratio, keyValueHeads, parameters, seconds, ...costs }, result);
    await saveJson(context.store, `${rowName}.json`, key, row);
    return { value: row, detail: describe(row) };
  });
}

async function compressCandidate(
  context: RunContext,
  request: CandidateRequest,
  recipe: Recipe,
  keys: RunKeys,
  choice: GroupingChoice | undefined,
): Promise<{ compressed: ModelSource; groups: number[][][]; seconds: number }> {
  const { model, statistics } = request;
  const { keyValueHeads } = request.candidate;
  const method = request.ownMethods?.get(methodName(recipe.method))?.method ?? resolveMethod(recipe.method);
  const groups = await chooseGroups(context, {
    model,
    statistics,
    keyValueHeads,
    strategy: choice?.strategy ?? resolveGrouping(recipe.grouping),
    label: recipe.grouping,
    method,
    blockInputs: request.blockInputs,
    workers: request.workers,
    key: keys.grouping,
  });
  const layers = await computeFactors(context, {
    model,
    statistics,
    groups,
    method,
    attended: gatherAttendedMoments({
      model,
      runner: request.runner,
      calibration: recipe.calibration,
      tokenIds: request.calibrationIds,
    }),
    key: keys.factors,
  });
  const { model: compressed } = await recoverStudent(context, {
    teacher: model,
    student: applyCompression(model, layers),
    settings: recipe.recovery,
    tokenIds: request.calibrationIds,
    key: keys.recovery,
  });
  return { compressed, groups, seconds: context.stages.reduce((sum, stage) => sum + stage.seconds, 0) };
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
