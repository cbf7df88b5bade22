import { type BackendChoice, selectBackend } from '@kvlr/runtime';
import { type ComparedModel, checkComparison } from './compare/begin.ts';
import type { ComparedRows } from './compare/rows.ts';
import { estimateCompression } from './estimate.ts';
import { needsStatistics } from './frontier/cache-statistics.ts';
import type { NamedCache } from './frontier/caches.ts';
import { timedRounds } from './frontier/time-caches.ts';
import { stageMemory } from './memory-estimate.ts';
import { chooseEngine } from './models/engine.ts';
import { probeSpeeds } from './models/probe.ts';
import { plannedMeans } from './models/window-means.ts';
import { planWithTexts } from './plan.ts';
import { codedEvaluationSeconds, evaluationSeconds, statisticsSeconds } from './window-estimate.ts';

/** What a comparison would do and take. Estimates, within a factor of about three. */
export interface PlannedComparison {
  /** What each row would take by itself: its closed form, its repair and its evaluation. */
  rows: { title: string; keyValueHeads: number; seconds: number }[];
  /** Of all rows, with the statistics and the original's evaluation, which they share. */
  seconds: number;
  /** Largest memory at one time. */
  memoryBytes: number;
  backend: BackendChoice;
  /** What runs windows, and why, for people. */
  engine: string;
}

export interface PlannedComparisonRequest extends ComparedModel {
  rows: ComparedRows;
  /** For `compareBytes`: what each row, and the original, is read through. Default: each row is evaluated once, with an exact cache. */
  caches?: readonly NamedCache[] | undefined;
}

/** Stages of a compression that a row goes through by itself. */
const stagesOfRow: readonly string[] = ['budget', 'factors', 'block reconstruction', 'distillation'];

/**
 * The dry run of `compare` and, with caches, of `compareBytes`: what it would be refused for, and what it would take. Nothing is written,
 * and nothing computed but one window in one layer, a few times, for its time. `threads` would run windows side by side; default 1.
 */
export async function planComparison(
  request: PlannedComparisonRequest,
  threads = request.runtime?.workers?.count ?? 1,
): Promise<PlannedComparison> {
  const { model, modelLocation, caches } = request;
  const { recipe, texts } = await checkComparison(request, request.rows.rows);
  const backend = await selectBackend({ backend: request.runtime?.backend });
  const engine = await chooseEngine(request.runtime ?? {}, backend.backend);
  const native = engine.native !== undefined;
  const probed = await probeSpeeds(model, backend.backend, engine.native);
  const means = { ...plannedMeans(request.runtime, backend.backend, native, threads), probed };
  const { numKeyValueHeads } = model.shape;
  const source = { model, recipe, texts, keyValueHeads: numKeyValueHeads, headWidth: 1, needsStatistics: true };
  const statistics = statisticsSeconds(source, means);
  const original = evaluationSeconds(source, means, 0);
  const evaluation = evaluationSeconds(source, means, 1) - original;
  const behindCaches = caches && caches.length * codedEvaluationSeconds(source, means, timedRounds);
  // Codecs that are fitted are fitted to each row's own keys and values.
  const ofOwnHeads = caches?.some(needsStatistics) ? statistics : 0;

  const rows: PlannedComparison['rows'] = [];
  if (behindCaches !== undefined) {
    rows.push({ title: 'the original', keyValueHeads: numKeyValueHeads, seconds: behindCaches });
  }
  const ofOriginal = stageMemory(source, means);
  let memoryBytes = Math.max(ofOriginal.statistics!, ofOriginal.evaluation ?? 0);
  for (const { title, entries, choices } of request.rows.rows) {
    const plan = await planWithTexts({ ...choices, model, modelLocation, recipe: { ...recipe, ...entries }, texts });
    const estimate = estimateCompression(plan, means);
    const own = estimate.stages.filter((stage) => stagesOfRow.includes(stage.title));
    const seconds = own.reduce((sum, stage) => sum + stage.seconds, 0);
    const measuring = behindCaches === undefined ? evaluation : ofOwnHeads + behindCaches;
    rows.push({ title, keyValueHeads: entries.keyValueHeads, seconds: seconds + measuring });
    memoryBytes = Math.max(memoryBytes, estimate.memoryBytes);
  }
  const seconds = rows.reduce((sum, row) => sum + row.seconds, statistics + original);
  return { rows, seconds, memoryBytes, backend, engine: engine.reason };
}
