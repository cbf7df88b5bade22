import { formatCacheName } from '@kvlr/cache';
import {
  codedCacheBytes,
  type DecoderShape,
  halfCacheBytes,
  KvlrError,
  type Measurement,
  meanCodedCacheBytes,
  type RunControl,
} from '@kvlr/core';
import { cachedLogits } from '@kvlr/evaluation';
import type { CachePlan, FrontierPoint, PlannedCandidate } from '@kvlr/report';
import { beginComparison, type ComparedModel } from '../compare/begin.ts';
import type { ComparedRow, ComparedRows } from '../compare/rows.ts';
import { RunContext } from '../run/context.ts';
import { MemoryRunStore, type RunStore } from '../run/store.ts';
import { type NamedCache, resolveCache } from './caches.ts';
import { type MeasuredCache, type MeasuredHeads, rankCandidates } from './choose-cache.ts';
import { type CacheEngineName, cacheEngines, cachesOf } from './engines.ts';
import { describeHeads, measureHeads } from './measure-heads.ts';

export interface CachePlanRequest extends ComparedModel, RunControl {
  engine: CacheEngineName;
  /** Share of the base's bytes at two bytes a number that the cache may take, or bytes of one sequence at the context. */
  budget: { share: number } | { bytes: number };
  /** Tokens of context that is planned for. */
  context: number;
  /** Heads that may be kept instead of the model's own: see `headsRows`. */
  rows: ComparedRows;
  store?: RunStore | undefined;
  checkSource?: (() => Promise<void>) | undefined;
}

/** A plan, and what to compress the model to. */
export interface PlannedCache {
  plan: CachePlan;
  /** The row of heads that was chosen; undefined where the model's own stay. */
  row: ComparedRow | undefined;
}

/** Bits alone that cost no more than this settle the matter: no heads are tried. */
const settled = Math.log(1.005);
/** Candidates of which the choice is made by measuring them. */
const finalists = 3;

/**
 * Chooses heads and a cache for an engine and a budget. Every cache of the engine is measured with the model's own heads; where bits alone
 * meet the budget at no more than half a percent of perplexity, that is the choice and the weights stay. Else heads are measured with an exact
 * cache, all candidates are ranked by `predictCost`, and the best three are measured. What `kvlr compress --cache-bytes` does.
 *
 * @throws KvlrError 'usage' where no candidate meets the budget, with the smallest there is.
 */
export async function planCache(request: CachePlanRequest): Promise<PlannedCache> {
  const { model, engine: engineName, context: tokens, rows, modelLocation } = request;
  const engine = cacheEngines[engineName];
  const context = new RunContext(request.store ?? new MemoryRunStore(), request);
  const baseBytes = halfCacheBytes(model.shape, tokens);
  const budget = 'share' in request.budget ? request.budget.share : request.budget.bytes / baseBytes;
  const caches = new Map<string, NamedCache>();
  const own = await Promise.all(cachesOf(engine).map((name) => resolveCache(name)));
  const sides = engine.mixesSides ? await sidesOf(engine.codecs) : [];
  const mixes = engine.mixesSides ? await mixesOf(engine.codecs) : [];
  for (const cache of [...own, ...sides, ...mixes]) caches.set(cache.name, cache);
  requirePossible(budget, request, [...caches.values()]);

  const begun = await beginComparison(context, request, rows.rows);
  const inputs = begun.texts.evaluation.map(({ tokenIds }) => tokenIds.slice(0, -1));
  return begun.means.runner.use(model, inputs, async (baseModel) => {
    const shared = { ...begun, model, modelLocation, baseLogits: cachedLogits(baseModel), contexts: [tokens] };
    const measure = (row: ComparedRow | undefined, which: readonly NamedCache[]) =>
      measureHeads(context, row, which, shared);
    const reasons: string[] = [];
    const measured = new Map<string, FrontierPoint>();
    const keep = (points: readonly FrontierPoint[]) => {
      for (const point of points) measured.set(`${point.heads} ${point.cache}`, point);
    };
    keep((await measure(undefined, engine.mixesSides ? sides : own)).points);
    const costs = costsOf(engine.mixesSides ? mixes : own, measured);
    const shapes = new Map<string, DecoderShape>([['base', model.shape]]);
    const bytesOf = (heads: string, cache: string) => {
      const shape = shapes.get(heads);
      return shape && meanCodedCacheBytes(shape, caches.get(cache)!.cache, tokens) / baseBytes;
    };
    const base: MeasuredHeads = { name: 'base', share: 1, cost: 0 };
    const alone = rankCandidates([base], costs, bytesOf, budget);
    const titles = new Map([['base', describeHeads(model.shape)]]);
    const chosenRows = new Map<string, ComparedRow>();
    let ranked = alone;
    const best = alone[0];
    if (best !== undefined && best.predicted <= settled) {
      reasons.push(
        `Bits alone meet the budget: ${best.cache} costs ${percent(best.predicted)} of perplexity. No heads were tried; the weights stay as they are.`,
      );
    } else {
      reasons.push(
        best === undefined
          ? `Bits alone do not meet the budget in ${engine.title}: fewer heads have to help.`
          : `Bits alone meet the budget, at ${percent(best.predicted)} of perplexity with ${best.cache}: heads were tried beside them.`,
      );
      const exact = caches.get('f16')!;
      const heads = [base];
      for (const row of rows.rows) {
        const { points, shape } = await measure(row, [exact]);
        const point = points[0]!;
        keep(points);
        shapes.set(point.heads, shape);
        titles.set(point.heads, point.headsTitle);
        chosenRows.set(point.heads, row);
        const share = halfCacheBytes(shape, 1) / halfCacheBytes(model.shape, 1);
        heads.push({ name: point.heads, share, cost: costOf(point.perplexityRatio) });
        reasons.push(`${point.headsTitle} alone cost ${percent(Math.log(point.perplexityRatio.value))}.`);
      }
      ranked = rankCandidates(heads, costs, bytesOf, budget);
    }
    if (ranked.length === 0) throw impossible(budget, request, [...caches.values()]);
    for (const { heads, cache } of ranked.slice(0, finalists)) {
      keep((await measure(chosenRows.get(heads), [caches.get(cache)!])).points);
    }
    const candidates = ranked.map((candidate): PlannedCandidate => {
      const point = measured.get(`${candidate.heads} ${candidate.cache}`);
      return { ...candidate, headsTitle: titles.get(candidate.heads)!, measured: point?.perplexityRatio };
    });
    const chosen = candidates
      .slice(0, finalists)
      .reduce((better, one) => (costOf(one.measured!) < costOf(better.measured!) ? one : better));
    reasons.push(
      `${chosen.headsTitle} with ${chosen.cache} were best of the ${Math.min(finalists, ranked.length)} likeliest candidates, each measured.`,
    );
    const plan: CachePlan = {
      ...{ engine: engineName, engineTitle: engine.title, context: tokens, budget, baseBytes },
      ...{ chosen, candidates, reasons, windowCount: begun.texts.evaluation.length },
      flags: engine.flags(caches.get(chosen.cache)!.parts),
    };
    return { plan, row: chosenRows.get(chosen.heads) };
  });
}

/**
 * The logarithm of a ratio and one standard error: on few windows the errors of coarse codes are larger than what they cost, and a gain
 * that is only noise should not choose them.
 */
function costOf({ value, standardError }: Measurement): number {
  return Math.log(value) + (standardError ?? 0) / value;
}

/** What each cache costs with the model's own heads: as measured, or the sum of what its keys and its values cost alone. */
function costsOf(caches: readonly NamedCache[], measured: ReadonlyMap<string, FrontierPoint>): MeasuredCache[] {
  const cost = (name: string) => costOf(measured.get(`base ${name}`)!.perplexityRatio);
  return caches.map(({ name, parts: { keys, values } }) => {
    if (measured.has(`base ${name}`)) return { name, cost: cost(name) };
    const ofKeys = cost(formatCacheName({ keys, values: 'f16', window: 0, first: 0 }));
    const ofValues = cost(formatCacheName({ keys: 'f16', values, window: 0, first: 0 }));
    return { name, cost: Math.max(0, ofKeys) + Math.max(0, ofValues) };
  });
}

/** Each codec for keys alone and for values alone. */
function sidesOf(codecs: readonly string[]): Promise<NamedCache[]> {
  const names = codecs.flatMap((codec) => (codec === 'f16' ? ['f16'] : [`${codec}:f16`, `f16:${codec}`]));
  return Promise.all(names.map((name) => resolveCache(name)));
}

/** Every codec for keys with every codec for values. */
function mixesOf(codecs: readonly string[]): Promise<NamedCache[]> {
  return Promise.all(codecs.flatMap((keys) => codecs.map((values) => resolveCache(`${keys}:${values}`))));
}

const percent = (cost: number): string => `${(100 * Math.expm1(cost)).toFixed(2)} %`;

/** Fewest bytes that any rows and caches take, as a share of the base's. */
function leastShare({ model, context, rows }: CachePlanRequest, caches: readonly NamedCache[]): number {
  const bytes = caches.map(
    ({ cache }) => codedCacheBytes(model.shape, cache, context) / halfCacheBytes(model.shape, context),
  );
  const { numKeyValueHeads } = model.shape;
  const heads = rows.rows.map(
    ({ entries: { keyValueHeads, headWidth } }) => (keyValueHeads * headWidth) / numKeyValueHeads,
  );
  return Math.min(...bytes) * Math.min(1, ...heads);
}

function requirePossible(budget: number, request: CachePlanRequest, caches: readonly NamedCache[]): void {
  if (budget < leastShare(request, caches)) throw impossible(budget, request, caches);
}

function impossible(budget: number, request: CachePlanRequest, caches: readonly NamedCache[]): KvlrError {
  const least = leastShare(request, caches);
  return new KvlrError('usage', {
    message: `expected a budget of at least ${(100 * least).toFixed(1)} % of the cache for ${cacheEngines[request.engine].title}, got ${(100 * budget).toFixed(1)} %`,
    hint: 'Allow more bytes, a shorter context, or an engine whose cache takes fewer bits.',
    where: { argument: 'budget' },
    data: { budget, least, engine: request.engine },
  });
}
