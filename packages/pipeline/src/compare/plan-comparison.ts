import { type BackendChoice, selectBackend } from '@kvlr/runtime';
import { estimateCompression } from '../estimate.ts';
import { chooseEngine } from '../models/engine.ts';
import { probeSpeeds } from '../models/probe.ts';
import { planWithTexts } from '../plan.ts';
import { checkComparison } from './begin.ts';
import type { ComparisonRequest } from './compare.ts';

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

/**
 * The dry run of `compare`: what it would be refused for, and what it would take. Nothing is written, and nothing computed but one
 * window in one layer, for its time. `threads` would run windows side by side; default 1.
 */
export async function planComparison(
  request: ComparisonRequest,
  threads = request.runtime?.workers?.count ?? 1,
): Promise<PlannedComparison> {
  const { model, modelLocation } = request;
  const { recipe, texts } = await checkComparison(request, request.rows.rows);
  const backend = await selectBackend({ backend: request.runtime?.backend });
  const engine = await chooseEngine(request.runtime ?? {}, backend.backend);
  const native = engine.native !== undefined;
  const probed = await probeSpeeds(model, backend.backend, engine.native);

  const rows: PlannedComparison['rows'] = [];
  let shared = 0;
  let memoryBytes = 0;
  for (const { title, entries, choices } of request.rows.rows) {
    const plan = await planWithTexts({ ...choices, model, modelLocation, recipe: { ...recipe, ...entries }, texts });
    const estimate = estimateCompression(plan, backend.backend, native, threads, probed);
    const secondsOf = (stage: string) => estimate.stages.find((each) => each.title === stage)?.seconds ?? 0;
    const [statistics, evaluation] = [secondsOf('statistics'), secondsOf('evaluation')];
    // An evaluation takes original and result through the windows; the original's logits are kept for all rows.
    rows.push({
      title,
      keyValueHeads: entries.keyValueHeads,
      seconds: estimate.seconds - statistics - evaluation / 2,
    });
    shared = Math.max(shared, statistics + evaluation / 2);
    memoryBytes = Math.max(memoryBytes, estimate.memoryBytes);
  }
  const seconds = rows.reduce((sum, row) => sum + row.seconds, shared);
  return { rows, seconds, memoryBytes, backend, engine: engine.reason };
}
