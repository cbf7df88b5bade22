import {
  cacheSize,
  codedCacheSize,
  countParameters,
  KvlrError,
  type LogitSource,
  type ModelSource,
  type WindowScores,
} from '@kvlr/core';
import type { Recipe } from '@kvlr/core/schemas';
import { comparePerplexities, type EvaluationWindow, evaluate } from '@kvlr/evaluation';
import {
  applyReconstruction,
  type NativeReconstruction,
  type ReconstructionRequest,
  reconstructBlocks,
} from '@kvlr/recovery';
import type { Alternative, Alternatives } from '@kvlr/report';
import type { ModelRunner } from '../models/runner.ts';
import { resolveRecovery } from '../recipe.ts';
import { type ArtefactKey, artefactKey, jsonCodec } from '../run/artefact.ts';
import type { RunContext, Stage } from '../run/context.ts';
import { artefactNames } from '../run/store.ts';
import { layersOfRun, type RecoveryRequest, reconstructionWindows } from './recovery.ts';

/** Windows of each source, and tokens of a window, at most. */
const [windowsPerSource, longestWindow] = [2, 257];

/** Windows that a refit for comparison is solved on, and held out, at most. */
const refitWindows = { training: 12, heldOut: 2 };

/** Parameters times tokens, at most, that a cache of few bits is measured on: in kvlr's own kernels it is a minute or two on a core. */
const mostCodedWork = 5e10;

/** The caches of few bits. */
const codedDtypes = ['int8', 'int4'] as const;

export interface AlternativesRequest extends Pick<RecoveryRequest, 'settings' | 'text'> {
  /** Refits blocks. Default: TensorFlow.js. */
  native?: NativeReconstruction | undefined;
  runner: ModelRunner;
  base: ModelSource;
  /** The result before anything followed the closed forms. */
  closedForm: ModelSource;
  /** The result as it is written. */
  written: ModelSource;
  windows: readonly EvaluationWindow[];
  /** Bytes of a number in the cache of the report. */
  bytesPerElement: number;
  /** Of the evaluation. */
  key: ArtefactKey;
}

/** What is measured: some heads, with a cache of few bits or with that of the evaluation. */
interface Candidate extends Pick<Alternative, 'heads' | 'cacheDtype'> {
  model: (stage: Stage) => Promise<ModelSource>;
}

/**
 * Quality against bytes: the original, the closed form, a refit and the result, and original and result with caches of 8 and 4 bits, on
 * the beginnings of the first windows of each source. A refit is made only behind a block reconstruction, on a few windows.
 */
export async function measureAlternatives(context: RunContext, request: AlternativesRequest): Promise<Alternatives> {
  const { bytesPerElement } = request;
  const key = await artefactKey({ evaluation: request.key }, { windowsPerSource, longestWindow, refitWindows });
  const windows = beginnings(request.windows);
  const windowLength = windows[0]!.tokenIds.length;
  const stage = {
    ...{ stage: 'evaluation' as const, title: 'The result beside its closed form and caches of fewer bits', key },
    ...{ name: artefactNames.alternatives, codec: jsonCodec<Alternatives>() },
  };
  return context.cached(stage, async (running) => {
    const points: Alternative[] = [];
    let base: WindowScores | undefined;
    const candidates = candidatesOf(context, request, key, windows);
    for (const [place, candidate] of candidates.entries()) {
      const { heads, cacheDtype } = candidate;
      const model = await candidate.model(running);
      const scores = await scoresOf(request, candidate, model, windows, running.part(place, candidates.length));
      if (scores === undefined) continue;
      base ??= scores;
      const size = cacheDtype ? codedCacheSize(model.shape, cacheDtype) : cacheSize(model.shape, bytesPerElement);
      const { perplexityRatio } = comparePerplexities(scores, base, windowLength - 1);
      points.push({ heads, ...(cacheDtype && { cacheDtype }), bytesPerToken: size.bytesPerToken, perplexityRatio });
    }
    await context.store.remove(artefactNames.refit);
    return { points, windowCount: windows.length, windowLength };
  });
}

/** The beginnings of the first windows of each source. */
function beginnings(windows: readonly EvaluationWindow[]): EvaluationWindow[] {
  const taken = new Map<string, number>();
  const first = windows.filter(({ source }) => {
    const count = taken.get(source) ?? 0;
    taken.set(source, count + 1);
    return count < windowsPerSource;
  });
  return first.map((window) => ({ ...window, tokenIds: window.tokenIds.subarray(0, longestWindow) }));
}

/**
 * What `measureAlternatives` takes of a model with so many parameters, by recipe: tokens of its windows, how often they pass through a
 * model as in evaluation, and how often through kvlr's own kernels; and the refit, where one is made.
 */
export function alternativesWork(
  { recovery, evaluation }: Pick<Recipe, 'recovery' | 'evaluation'>,
  parameters: number,
  sources: number,
): { tokens: number; length: number; passes: number; codedPasses: number; refit: ReturnType<typeof resolveRecovery> } {
  const length = Math.min(evaluation.windowLength, longestWindow) - 1;
  const tokens = sources * Math.min(evaluation.windowsPerSource, windowsPerSource) * length;
  const settings = resolveRecovery(recovery);
  const { training: trainingWindows, heldOut: heldOutWindows } = refitWindows;
  const isTrained = settings !== undefined && settings.settings.steps > 0;
  const refit = isTrained
    ? resolveRecovery({
        preset: 'refit',
        trainingWindows,
        heldOutWindows,
        windowLength: recovery.windowLength,
        seed: recovery.seed,
      })
    : undefined;
  const passes = 2 + (settings || recovery.distillation ? 1 : 0) + (isTrained ? 1 : 0);
  return { tokens, length, passes, codedPasses: takesCoded(parameters, tokens) ? 2 * codedDtypes.length : 0, refit };
}

function takesCoded(parameters: number, tokens: number): boolean {
  return parameters * tokens <= mostCodedWork;
}

function candidatesOf(
  context: RunContext,
  request: AlternativesRequest,
  key: ArtefactKey,
  windows: readonly EvaluationWindow[],
): Candidate[] {
  const { base, closedForm, written, settings } = request;
  const candidates: Candidate[] = [{ heads: 'original', model: async () => base }];
  const recovery = resolveRecovery(settings);
  if (recovery || settings.distillation) candidates.push({ heads: 'closed form', model: async () => closedForm });
  if (recovery && recovery.settings.steps > 0)
    candidates.push({ heads: 'refit', model: (stage) => refit(context, request, key, stage) });
  candidates.push({ heads: 'result', model: async () => written });
  const tokens = windows.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0);
  if (!takesCoded(countParameters(base), tokens)) return candidates;
  for (const cacheDtype of codedDtypes) {
    candidates.push(
      { heads: 'original', cacheDtype, model: async () => base },
      { heads: 'result', cacheDtype, model: async () => written },
    );
  }
  return candidates;
}

/** The closed form with output projections solved for anew, on some of the windows of the reconstruction. */
async function refit(
  context: RunContext,
  { base, closedForm, settings, text, native }: AlternativesRequest,
  key: ArtefactKey,
  stage: Stage,
): Promise<ModelSource> {
  const { training, heldOut } = reconstructionWindows(text, settings)!;
  const request: ReconstructionRequest = {
    ...{ signal: stage.control.signal, teacher: base, student: closedForm, preset: 'refit' },
    windows: training.slice(0, refitWindows.training),
    heldOutWindows: heldOut.slice(0, refitWindows.heldOut),
    native,
    ...(await layersOfRun(context, stage, artefactNames.refit, key)),
  };
  const { layers } = await reconstructBlocks(request);
  return applyReconstruction(closedForm, layers);
}

/** Undefined where the heads cannot be stored so. */
async function scoresOf(
  { runner }: AlternativesRequest,
  { cacheDtype }: Candidate,
  model: ModelSource,
  windows: readonly EvaluationWindow[],
  control: ReturnType<Stage['part']>,
): Promise<WindowScores | undefined> {
  const inputs = windows.map(({ tokenIds }) => tokenIds.slice(0, -1));
  const score = async (logits: LogitSource) => {
    const settings = { modelId: model.id, windows, cache: cacheSize(model.shape, 2) };
    return (await evaluate({ ...control, ...settings, model: logits })).windows!;
  };
  if (cacheDtype === undefined) return runner.use(model, inputs, score, control);
  try {
    return await runner.useCached(model, cacheDtype, score);
  } catch (error) {
    if (KvlrError.isInstance(error) && error.code === 'unsupported-feature') return undefined;
    throw error;
  }
}
