import { requireCacheFits, requireWindowsFit } from '@kvlr/cache';
import { roundModel } from '@kvlr/checkpoint';
import {
  type CachedLayers,
  cacheSize,
  codecTableBytes,
  type DecoderShape,
  type LayerStatistics,
  type LogitSource,
  type ModelSource,
  meanCodedCacheBytes,
} from '@kvlr/core';
import { evaluate } from '@kvlr/evaluation';
import type { FrontierPoint } from '@kvlr/report';
import type { BegunComparison } from '../compare/begin.ts';
import type { ComparedRow } from '../compare/rows.ts';
import { compressLayers } from '../compress.ts';
import { once } from '../models/once.ts';
import { type PlanRequest, planWithTexts } from '../plan.ts';
import { describeRecovery } from '../recipe.ts';
import { artefactKey, jsonCodec } from '../run/artefact.ts';
import type { RunContext, Stage } from '../run/context.ts';
import { MemoryRunStore, subStore } from '../run/store.ts';
import { withBalancedKeys } from '../stages/key-scales.ts';
import { sampleWindows } from '../stages/statistics.ts';
import { type LayerStatisticsOf, needsStatistics, readerKnowledge } from './cache-statistics.ts';
import type { NamedCache } from './caches.ts';
import { enginesWith } from './engines.ts';
import { hostMemoryNotes } from './host-memory-note.ts';
import { timeCaches } from './time-caches.ts';

/** Raised when codecs or windows are read another way: what was measured before is measured again. */
const pointForm = 4;

/** What all points of a comparison share. */
export interface SharedByPoints extends BegunComparison, Pick<PlanRequest, 'model' | 'modelLocation'> {
  baseLogits: LogitSource;
  /** Tokens of context at which bytes are counted. */
  contexts: readonly number[];
  /** Whether tokens a second are measured too. */
  timed?: boolean | undefined;
}

/** What is kept of a point: bytes follow from the shape. */
type Measured = Pick<
  FrontierPoint,
  'perplexity' | 'perplexityRatio' | 'klDivergence' | 'topOneAgreement' | 'windows' | 'tokensPerSecond'
>;

/** What a run directory keeps of one row of heads. */
interface MeasuredHeads {
  shape: DecoderShape;
  /** By the cache's name, and the hash of its modules where it has any. */
  points: Record<string, Measured>;
}

/** A row's model, made when it is first needed, and what calibration knows of it. */
interface Heads {
  model: () => Promise<ModelSource>;
  statistics: () => Promise<LayerStatisticsOf>;
}

/**
 * Evaluates one row of heads (the base's own where there is none) through each of the caches. What is measured is kept in the run
 * directory, point by point; heads are compressed only where a point is missing. Caches that the heads cannot be stored in are left out,
 * with their reasons.
 */
export async function measureHeads(
  context: RunContext,
  row: ComparedRow | undefined,
  caches: readonly NamedCache[],
  shared: SharedByPoints,
): Promise<{ points: FrontierPoint[]; shape: DecoderShape; notes: string[] }> {
  const { model, texts, means, baseLogits, contexts } = shared;
  const plan = row && (await planOf(row, shared));
  const key = await artefactKey(
    plan ? { evaluation: plan.keys.evaluation } : { modelId: model.id, evaluationHash: texts.evaluationHash },
    {
      ...{ pointForm, evaluation: shared.recipe.evaluation, calibration: shared.recipe.calibration },
      keyScales: shared.recipe.keyScales,
    },
  );
  const name = row === undefined ? 'base' : nameOfHeads(row);
  const artefact = {
    key,
    name: `points/${name.replace(/[^\w.-]+/g, '_')}.json`,
    codec: jsonCodec<MeasuredHeads>(),
  };
  const title = row === undefined ? 'The heads of the original' : row.title;
  return context.stage('evaluation', `${title}, ${caches.length} caches`, async (stage) => {
    const kept = (await stage.load(artefact))?.value;
    const heads = plan === undefined ? baseHeads(shared) : compressedHeads(context, stage, row!, plan, shared);
    const shape = kept?.shape ?? (await heads.model()).shape;
    const measured = { ...kept?.points };
    const { fitting, notes } = chooseFitting(caches, shape, title);
    const missing = fitting.filter(({ name: cache, hash }) => measured[keyOf(cache, hash)] === undefined);
    stage.skipped = missing.length === 0;
    if (missing.length > 0) {
      const source = await heads.model();
      const samplesOf = (of: ModelSource) =>
        means.runner.sampleRows(
          of,
          sampleWindows(texts.calibration, shared.recipe.calibration, sampledWindows),
          samplesOfSide,
        );
      const knowledge = missing.some(needsStatistics)
        ? await readerKnowledge(
            source,
            await heads.statistics(),
            missing.some(needsSamples) ? await samplesOf(source) : [],
          )
        : undefined;
      for (const [part, named] of missing.entries()) {
        const coded = { ...named, statistics: needsStatistics(named) ? knowledge?.(named) : undefined };
        const { perplexity, againstBase, windows } = await means.runner.useCoded(source, coded, (logits) =>
          evaluate({
            ...stage.part(part, missing.length),
            ...{ model: logits, modelId: source.id, base: baseLogits, baseModelId: model.id },
            windows: texts.evaluation,
            cache: cacheSize(shape, 2),
          }),
        );
        const { perplexityRatio, klDivergence, topOneAgreement } = againstBase!;
        measured[keyOf(named.name, named.hash)] = {
          perplexity,
          perplexityRatio,
          klDivergence,
          topOneAgreement,
          windows,
        };
        await stage.save(artefact, { shape, points: measured });
      }
      if (shared.timed) {
        const speeds = await timeCaches(means.runner, source, {
          caches: missing.map((named) => ({
            named,
            statistics: needsStatistics(named) ? knowledge?.(named) : undefined,
          })),
          prompt: texts.evaluation[0]!.tokenIds.slice(0, -1),
          signal: context.signal,
        });
        for (const { name: cache, hash } of missing) {
          const point = measured[keyOf(cache, hash)]!;
          measured[keyOf(cache, hash)] = { ...point, tokensPerSecond: speeds.get(cache) };
        }
        await stage.save(artefact, { shape, points: measured });
      }
    }
    const points = fitting.map(({ name: cache, hash, parts, cache: coded }): FrontierPoint => {
      return {
        heads: name,
        headsTitle: `${describeHeads(shape)}${shared.recipe.keyScales === 'balanced' ? ', balanced' : ''}`,
        cache,
        cacheTitle: coded.codec.title,
        engines: enginesWith(parts, shape),
        bytes: contexts.map((tokens) => meanCodedCacheBytes(shape, coded, tokens)),
        tableBytes: codecTableBytes(shape, coded.codec),
        ...measured[keyOf(cache, hash)]!,
      };
    });
    stage.detail = `${points.length} points`;
    const ofHost = fitting.flatMap((of) => hostMemoryNotes(shape, of, contexts[0]!, `${title}, ${of.name}`));
    return { points, shape, notes: [...notes, ...ofHost] };
  });
}

/** The row and its heads: as many of another width are others. */
function nameOfHeads({ name, entries: { keyValueHeads, headWidth } }: ComparedRow): string {
  return `${name}-${keyValueHeads}${headWidth > 1 ? `x${headWidth}` : ''}`;
}

const keyOf = (cache: string, hash: string | undefined): string => (hash === undefined ? cache : `${cache} ${hash}`);

/** '8 heads of 32', for ordinary and latent layouts. */
export function describeHeads({ layers }: CachedLayers): string {
  const kinds = layers.map(({ cache: { keySlots, keySlotWidth, valueSlots, valueSlotWidth } }) =>
    keySlots === valueSlots && keySlotWidth === valueSlotWidth
      ? `${keySlots} ${keySlots === 1 ? 'head' : 'heads'} of ${keySlotWidth}`
      : `${keySlots} x ${keySlotWidth} + ${valueSlots} x ${valueSlotWidth}`,
  );
  return new Set(kinds).size === 1 ? kinds[0]! : 'heads by layer';
}

const needsSamples = ({ cache }: NamedCache): boolean =>
  cache.codec.keys.needsSamples === true || cache.codec.values.needsSamples === true;

/** Windows of calibration text, and slices of keys and of values of them, that dictionaries are learnt from. */
const sampledWindows = 8;
const samplesOfSide = 2048;

function chooseFitting(caches: readonly NamedCache[], shape: DecoderShape, title: string) {
  const notes: string[] = [];
  const fitting = caches.filter(({ name, cache }) => {
    try {
      requireCacheFits(shape, cache);
      requireWindowsFit(cache);
      return true;
    } catch (error) {
      notes.push(`${title}: ${name} is left out; ${error instanceof Error ? error.message : error}.`);
      return false;
    }
  });
  return { fitting, notes };
}

function planOf(row: ComparedRow, { model, modelLocation, recipe, texts }: SharedByPoints) {
  return planWithTexts({ ...row.choices, model, modelLocation, recipe: { ...recipe, ...row.entries }, texts });
}

function baseHeads({ model, means, recipe }: SharedByPoints): Heads {
  const own = once(async () => (recipe.keyScales === 'balanced' ? withBalancedKeys(model, means.statistics) : model));
  return { model: own, statistics: async () => (layer) => means.statistics.layer(layer) };
}

function compressedHeads(
  context: RunContext,
  stage: Stage,
  row: ComparedRow,
  plan: Awaited<ReturnType<typeof planWithTexts>>,
  { model, recipe, texts, means }: SharedByPoints,
): Heads {
  const compress = once(async () => {
    const keeps = describeRecovery(row.entries.recovery) !== undefined;
    const folder = `rows/${nameOfHeads(row).replace(/[^\w.-]+/g, '_')}/`;
    const part = context.part(keeps ? subStore(context.store, folder) : new MemoryRunStore());
    const compressed = await compressLayers(part, plan, means);
    stage.takenOver.push(part.earlier);
    return roundModel(compressed.model, model, recipe.dtype === 'source' ? undefined : recipe.dtype);
  });
  return {
    model: compress,
    async statistics() {
      const source = await compress();
      const layers: LayerStatistics[] = [];
      await means.runner.gatherStatistics(source, {
        windows: sampleWindows(texts.calibration, recipe.calibration),
        provenance: { modelId: source.id, textHash: texts.calibrationHash, seed: recipe.calibration.seed },
        keep: async (layer) => void layers.push(layer),
        signal: context.signal,
      });
      return async (layer) => layers[layer]!;
    },
  };
}
