import { applyCompression } from '@kvlr/checkpoint';
import {
  type CompressionMethod,
  compressLayer,
  lostKeyEnergy,
  lostRankEnergy,
  lostValueEnergy,
  rankCandidates,
  readAttentionWeights,
  spreadBudget,
} from '@kvlr/compression';
import {
  type BudgetRequest,
  cacheSize,
  type DecoderShape,
  type LayerBudget,
  type LayerStatistics,
  type ModelSource,
} from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { cachedLogits, evaluate } from '@kvlr/evaluation';
import { divisorsOf } from '../heads.ts';
import { once } from '../models/once.ts';
import { useOnDemand } from '../models/use-on-demand.ts';
import { type ArtefactKey, jsonCodec } from '../run/artefact.ts';
import type { RunContext, Stage } from '../run/context.ts';
import { type BudgetChoice, budgetPolicies } from '../run/plugin-choices.ts';
import { artefactNames } from '../run/store.ts';
import { createGrouper, type GroupingSource } from './grouping.ts';
import type { ModelStatistics, OriginalOnText } from './statistics.ts';

/** How much of its cache each layer keeps; see `BudgetRequest.unit`. */
export interface CacheBudget {
  unit: BudgetRequest['unit'];
  layers: LayerBudget[];
}

/** True unless all layers keep the same, and as much of keys as of values. */
export function differsByLayer({ layers }: CacheBudget): boolean {
  return layers.some(({ keys, values }) => keys !== layers[0]!.keys || values !== layers[0]!.keys);
}

/** For people: "KV heads by layer: 4, 2, 2" or "Numbers per token by layer: keys 64, 32; values 64, 96". */
export function describeBudget({ unit, layers }: CacheBudget): string {
  const keys = layers.map((layer) => layer.keys).join(', ');
  if (unit === 'heads') return `KV heads by layer: ${keys}`;
  return `Numbers per token by layer: keys ${keys}; values ${layers.map((layer) => layer.values).join(', ')}`;
}

/** What the total is and what layers may keep, before any policy is asked. */
type BudgetFrame = Pick<BudgetRequest, 'shape' | 'unit' | 'uniform' | 'total' | 'candidates'>;

/**
 * Methods of whole heads keep a number of KV heads that divides the source's, and so its query heads; methods with free ranks
 * keep numbers per token.
 */
function budgetFrame(shape: DecoderShape, method: CompressionMethod, keyValueHeads: number): BudgetFrame {
  const ranks = method.freeRanks !== undefined;
  const count = ranks ? keyValueHeads * shape.headDim : keyValueHeads;
  const counts = ranks ? rankCandidates(shape, keyValueHeads) : divisorsOf(shape.numKeyValueHeads);
  return {
    shape,
    unit: ranks ? 'ranks' : 'heads',
    uniform: { keys: count, values: count },
    total: 2 * count * shape.numLayers,
    candidates: { keys: counts, values: counts },
  };
}

/**
 * How much each layer would keep, for a dry run: known for the budgets that shapes or weights alone decide. Undefined where
 * statistics or measurements decide, and for policies of the caller's own, which may ask for either.
 */
export async function foreseeBudget(plan: {
  model: ModelSource;
  recipe: Recipe;
  keyValueHeads: number;
  method: CompressionMethod;
}): Promise<CacheBudget | undefined> {
  const { model, recipe, keyValueHeads, method } = plan;
  const { policy } = recipe.budget;
  const named = budgetPolicies.has(policy) ? budgetPolicies.get(policy) : undefined;
  if (named === undefined || named.needs === 'statistics' || named.needs === 'measurement') return undefined;
  const frame = budgetFrame(model.shape, method, keyValueHeads);
  const weights = (layer: number) => readAttentionWeights(model, layer);
  return {
    unit: frame.unit,
    layers: await spreadBudget(named.policy, { ...frame, statistics: undefined, weights }, policy),
  };
}

export interface BudgetStageRequest extends OriginalOnText {
  settings: Recipe['budget'];
  /** Replaces the policy that the settings name. */
  choice: BudgetChoice | undefined;
  /** KV heads of every layer under the uniform budget. */
  keyValueHeads: number;
  grouping: GroupingSource;
  /** Of the answer, and of the measurements, which runs with another total or policy share. */
  key: ArtefactKey;
  lossKey: ArtefactKey;
}

/** Stage 2: how much of its cache each layer keeps. The uniform budget needs no stage. */
export async function chooseBudget(context: RunContext, request: BudgetStageRequest): Promise<CacheBudget> {
  const { model, grouping, keyValueHeads, settings, choice, key } = request;
  const frame = budgetFrame(model.shape, grouping.method, keyValueHeads);
  const { unit } = frame;
  if (choice === undefined && settings.policy === 'uniform') {
    return { unit, layers: model.shape.layers.map(() => ({ ...frame.uniform })) };
  }
  const stage = {
    stage: 'budget' as const,
    title: `How much each layer keeps (${settings.policy})`,
    name: artefactNames.budget,
    key,
    codec: jsonCodec<LayerBudget[]>(),
    detail: (layers: LayerBudget[]) => describeBudget({ unit, layers }),
  };
  const layers = await context.cached(stage, async (running) => {
    const groupsOf = rememberGroups(grouping, context.signal);
    return withLossMeter(running, { ...request, unit, groupsOf }, async (measuredLoss) =>
      spreadBudget(
        choice?.policy ?? budgetPolicies.get(settings.policy).policy,
        {
          ...frame,
          statistics: choice && (await readAll(grouping.statistics, model.shape.numLayers)),
          weights: (layer) => readAttentionWeights(model, layer),
          lostEnergy: createLostEnergies(grouping, keyValueHeads, groupsOf),
          measuredLoss,
          onProgress: (completed, total) => running.progress(completed, total, 'steps'),
          signal: context.signal,
        },
        settings.policy,
      ),
    );
  });
  return { unit, layers };
}

/** A policy of the caller's own may look at all layers at once. */
async function readAll(
  statistics: ModelStatistics | undefined,
  numLayers: number,
): Promise<LayerStatistics[] | undefined> {
  if (statistics === undefined) return undefined;
  const layers: LayerStatistics[] = [];
  for (let layer = 0; layer < numLayers; layer++) layers.push(await statistics.layer(layer));
  return layers;
}

type GroupsOf = (layer: number, wanted: number) => Promise<number[][]>;

/** Groups at any count, asked for once: strategies may be expensive, and need not answer the same twice. */
function rememberGroups(source: GroupingSource, signal: AbortSignal | undefined): GroupsOf {
  const { groupsOf } = createGrouper(source, signal);
  const known = new Map<string, Promise<number[][]>>();
  return (layer, wanted) => {
    const name = `${layer} ${wanted}`;
    const groups = known.get(name) ?? groupsOf(layer, wanted);
    known.set(name, groups);
    return groups;
  };
}

type MeasuredLoss = NonNullable<BudgetRequest['measuredLoss']>;

/**
 * Measures what compressing one layer costs: mean KL(original || model) per token, nats, on calibration text that the statistics
 * have not seen. Every measurement is saved when it is made, so that a run that was cut, or one with another total, does not
 * repeat it. The original is loaded with the first one.
 */
function withLossMeter<Value>(
  stage: Stage,
  request: BudgetStageRequest & { unit: BudgetRequest['unit']; groupsOf: GroupsOf },
  work: (measuredLoss: MeasuredLoss) => Promise<Value>,
): Promise<Value> {
  const { model, runner, text, calibration, settings, grouping, keyValueHeads, unit, groupsOf } = request;
  const losses = {
    name: artefactNames.budgetLosses,
    key: request.lossKey,
    codec: jsonCodec<Record<string, number>>(),
  };
  const sampled = once(async () => {
    const held = text.heldOut(
      { count: settings.windows, length: settings.windowLength, seed: settings.seed },
      { count: calibration.windows, length: calibration.windowLength, seed: calibration.seed },
    );
    return held.map((tokenIds) => ({ source: 'calibration', tokenIds }));
  });
  const inputsOf = async () => (await sampled()).map(({ tokenIds }) => tokenIds.slice(0, -1));
  return useOnDemand(runner, model, inputsOf, (load) => {
    const known = once(async () => ({ ...(await stage.load(losses))?.value }));
    const prepare = once(async () => ({ base: cachedLogits(await load()), windows: await sampled() }));
    return work(async (layer, budget) => {
      const heads = unit === 'heads' ? budget.keys : keyValueHeads;
      const name = `layer ${layer}, ${budget.keys} keys, ${budget.values} values in ${heads} groups`;
      const measured = await known();
      const earlier = measured[name];
      if (earlier !== undefined) return earlier;
      const compressed = compressLayer({
        shape: model.shape,
        layer,
        weights: await readAttentionWeights(model, layer),
        statistics: await grouping.statistics?.layer(layer),
        groups: await groupsOf(layer, heads),
        method: grouping.method,
        ...(unit === 'ranks' && { ranks: budget }),
      });
      const candidate = applyCompression(model, [compressed]);
      const { base, windows } = await prepare();
      const { againstBase } = await runner.use(candidate, await inputsOf(), (loaded) =>
        evaluate({
          model: loaded,
          modelId: candidate.id,
          base,
          baseModelId: model.id,
          windows,
          cache: cacheSize(candidate.shape, 4),
          signal: stage.control.signal,
        }),
      );
      const loss = againstBase!.klDivergence.value;
      measured[name] = loss;
      await stage.save(losses, measured);
      return loss;
    });
  });
}

/** Energy that a layer loses at a count, for policies that go by it; what is expensive is computed once a layer. */
function createLostEnergies(
  { model, statistics, method }: GroupingSource,
  keyValueHeads: number,
  groupsOf: GroupsOf,
): NonNullable<BudgetRequest['lostEnergy']> {
  const ofLayer = async (layer: number): Promise<(side: keyof LayerBudget, count: number) => Promise<number>> => {
    const { shape } = model;
    const weights = await readAttentionWeights(model, layer);
    const source = { shape, layer, weights, statistics: await statistics?.layer(layer) };
    if (method.freeRanks) {
      const lost = lostRankEnergy(source, await groupsOf(layer, keyValueHeads), method.freeRanks);
      return async (side, rank) => lost(side, rank);
    }
    const costs = { keys: lostKeyEnergy(source, 1).exact, values: lostValueEnergy(source, 1).exact };
    return async (side, heads) => (await groupsOf(layer, heads)).reduce((sum, group) => sum + costs[side](group), 0);
  };
  const layers = new Map<number, ReturnType<typeof ofLayer>>();
  return async (layer, side, count) => {
    const known = layers.get(layer) ?? ofLayer(layer);
    layers.set(layer, known);
    return (await known)(side, count);
  };
}
