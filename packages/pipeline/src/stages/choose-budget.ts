import { readAttentionWeights, resolveBudget, spreadBudget } from '@kvlr/compression';
import type { LayerBudget } from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { cachedLogits } from '@kvlr/evaluation';
import { type BudgetFrame, budgetFrame, type CacheBudget, describeBudget } from '../budget/cache-budget.ts';
import { createLossMeter } from '../budget/create-loss-meter.ts';
import { heldOutWindows } from '../budget/held-out-windows.ts';
import { createLostEnergies } from '../budget/lost-energies.ts';
import { askForGroups, type GroupingSource } from '../grouping/ask-for-groups.ts';
import type { ModelRunner } from '../models/model-runner.ts';
import { useOnDemand } from '../models/use-on-demand.ts';
import { once } from '../run/once.ts';
import type { BudgetChoice } from '../run/plugin-choices.ts';
import type { RunContext } from '../run/run-context.ts';
import { sayWhichText } from '../run/say-which-text.ts';
import type { Stopwatch } from '../run/stopwatch.ts';
import { type ArtefactKey, loadJson, saveJson } from '../store/artefact.ts';
import { addEfforts, type Effort } from '../store/effort.ts';
import { artefactNames } from '../store/run-store.ts';

export interface BudgetStageRequest extends GroupingSource {
  settings: Recipe['budget'];
  /** Replaces the policy that the settings name. */
  choice: BudgetChoice | undefined;
  /** KV heads of every layer under the uniform budget. */
  keyValueHeads: number;
  runner: ModelRunner;
  calibration: Recipe['calibration'];
  /** Tokens of the calibration text. */
  tokenIds: () => Promise<Int32Array>;
  /** Of the answer, and of the measurements, which runs with another total or policy share. */
  key: ArtefactKey;
  lossKey: ArtefactKey;
}

/** Between statistics and grouping: how much of its cache each layer keeps. The uniform budget needs no stage. */
export async function chooseBudget(context: RunContext, request: BudgetStageRequest): Promise<CacheBudget> {
  const { model, method, keyValueHeads, settings, choice } = request;
  const frame = budgetFrame(model.shape, method, keyValueHeads);
  const { unit } = frame;
  if (choice === undefined && settings.policy === 'uniform') {
    return { unit, layers: model.shape.layers.map(() => ({ ...frame.uniform })) };
  }
  return context.stage('budget', `How much each layer keeps (${settings.policy})`, async (_control, watch) => {
    const outcome = (layers: LayerBudget[]) => {
      const value = { unit, layers };
      return { value, detail: describeBudget(value) };
    };
    const { key } = request;
    const kept = await loadJson<LayerBudget[]>(context.store, artefactNames.budget, key);
    if (kept) return { ...outcome(kept.value), skipped: true, takenOver: [kept.effort] };
    const { layers, takenOver } = await ask(context, request, frame, watch);
    const effort = addEfforts([...takenOver, watch.total()]);
    await saveJson(context.store, artefactNames.budget, { key, effort }, layers);
    return { ...outcome(layers), takenOver };
  });
}

/** The policy's answer, and what the measurements of earlier runs took that went into it. */
function ask(
  context: RunContext,
  request: BudgetStageRequest,
  frame: BudgetFrame,
  watch: Stopwatch,
): Promise<{ layers: LayerBudget[]; takenOver: readonly (Effort | undefined)[] }> {
  const { model, statistics, settings, choice } = request;
  const shared = { ...request, ...frame, groupsOf: rememberGroups(request, context.signal) };
  return useOnDemand(request.runner, model, async (load) => {
    const prepare = once(async () => {
      const tokenIds = await request.tokenIds();
      const held = sayWhichText('calibration', () => heldOutWindows(tokenIds, request.calibration, settings));
      const windows = held.map((window) => ({ source: 'calibration', tokenIds: window }));
      return { base: cachedLogits(await load()), windows };
    });
    const meter = { ...shared, prepare, watch, key: request.lossKey };
    const { measuredLoss, takenOver } = await createLossMeter(context, meter);
    const layers = await spreadBudget(
      choice?.policy ?? resolveBudget(settings.policy),
      {
        ...frame,
        statistics: statistics.layers,
        weights: (layer) => readAttentionWeights(model, layer),
        lostEnergy: createLostEnergies(shared),
        measuredLoss,
        onProgress: (completed, total) =>
          context.onEvent({ type: 'progress', stage: 'budget', completed, total, unit: 'steps' }),
        signal: context.signal,
      },
      settings.policy,
    );
    return { layers, takenOver };
  });
}

/** Groups at any count, asked for once: strategies may be dear, and need not answer the same twice. */
function rememberGroups(source: GroupingSource, signal: AbortSignal | undefined) {
  const known = new Map<string, Promise<number[][]>>();
  return (layer: number, keyValueHeads: number): Promise<number[][]> => {
    const name = `${layer} ${keyValueHeads}`;
    const groups = known.get(name) ?? askForGroups(source, layer, keyValueHeads, signal);
    known.set(name, groups);
    return groups;
  };
}
