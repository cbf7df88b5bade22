import { access } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { HuggingFaceCheckpoint } from '@kvlr/checkpoint';
import { type PlaceClaim, writeCheckpointDirectory } from '@kvlr/checkpoint/node';
import { type Checkpoint, KvlrError } from '@kvlr/core';
import type { ComparisonReport, FrontierReport } from '@kvlr/report';
import { type BackendChoice, selectBackend } from '@kvlr/runtime';
import { type ComparisonRequest, compare } from '../compare/compare.ts';
import {
  type CompressionRequest,
  type CompressionResult,
  checkMemory,
  compress,
  type FinishedModel,
  type RunSettings,
} from '../compress.ts';
import { type CompressionEstimate, estimateCompression } from '../estimate.ts';
import { type BytesComparisonRequest, compareBytes } from '../frontier/compare-bytes.ts';
import { type CachePlanRequest, type PlannedCache, planCache } from '../frontier/plan-cache.ts';
import { chooseEngine } from '../models/engine.ts';
import { readLicence } from '../models/facts.ts';
import { probeSpeeds } from '../models/probe.ts';
import { plannedMeans } from '../models/window-means.ts';
import { type CompressionPlan, planCompression } from '../plan.ts';
import {
  type CheckpointRecoveryRequest,
  type CheckpointRecoveryResult,
  type PlannedRecovery,
  planRecovery,
  recoverCheckpoint,
} from '../recover.ts';
import { artefactNames } from '../run/store.ts';
import { type CacheBudget, foreseeBudget } from '../stages/budget.ts';
import { claimOutput, claimRunDirectory, type OutputClaim } from './claim-output.ts';
import { DirectoryRunStore } from './directory-run-store.ts';
import { watchSource } from './watch-source.ts';

/** Where a run in directories puts its result. */
export interface OutputSettings {
  /** Directory of the result. It appears when it is complete. */
  output: string;
  /** Directory that keeps what resuming needs. Default: the output with `.run` behind it. */
  runDirectory?: string | undefined;
  /** Replace an earlier result. It stays until the new one is complete. */
  overwrite?: boolean | undefined;
  /** Weights are split into files of at most this size. */
  maxShardBytes?: number | undefined;
}

export interface DirectoryCompressionRequest extends Omit<CompressionRequest, 'store' | 'write'>, OutputSettings {
  model: HuggingFaceCheckpoint;
  /** For a dry run: threads that would run windows. Default: those of the runtime. */
  threads?: number | undefined;
}

/** `compress` from files to files: checks that the output may be written, resumes, and writes it last. */
export async function compressToDirectory(request: DirectoryCompressionRequest): Promise<CompressionResult> {
  const { model } = request;
  return withClaim(model, request, async (claim) => {
    const modelLicence = request.modelLicence ?? (await readLicence(model.files));
    return compress({ alternatives: true, ...request, modelLicence, ...(await runSettings(model, request, claim)) });
  });
}

/** What a compression would do and take. */
export interface PlannedCompression {
  plan: CompressionPlan;
  backend: BackendChoice;
  /** What runs windows, and why, for people. */
  engine: string;
  estimate: CompressionEstimate;
  /** How much each layer would keep, where that is known before the run. */
  budget: CacheBudget | undefined;
}

/** The dry run of `compressToDirectory`: the same plan, and whatever it would be refused for. Nothing is written, and nothing computed but one window in one layer, a few times, for its time. */
export async function planCompressionToDirectory(request: DirectoryCompressionRequest): Promise<PlannedCompression> {
  return withClaim(request.model, request, async () => {
    const plan = await planCompression(request);
    const backend = await selectBackend({ backend: request.runtime?.backend });
    const engine = await chooseEngine(request.runtime ?? {}, backend.backend);
    const means = plannedMeans(request.runtime, backend.backend, engine.native !== undefined, request.threads);
    checkMemory(plan, means, request.machineMemoryBytes, request.onEvent);
    const runs = plan.needsStatistics || plan.texts.evaluation.length > 0;
    const probed = runs ? await probeSpeeds(request.model, backend.backend, engine.native) : undefined;
    return {
      plan,
      backend,
      engine: engine.reason,
      estimate: estimateCompression(plan, { ...means, probed }),
      budget: await foreseeBudget(plan),
    };
  });
}

export interface DirectoryRecoveryRequest extends Omit<CheckpointRecoveryRequest, 'store' | 'write'>, OutputSettings {}

/** `recoverCheckpoint` from files to files: checks that the output may be written, resumes, and writes it last. */
export async function recoverToDirectory(request: DirectoryRecoveryRequest): Promise<CheckpointRecoveryResult> {
  const { model } = request;
  return withClaim(model, request, async (claim) =>
    recoverCheckpoint({ ...request, ...(await runSettings(model, request, claim)) }),
  );
}

/** The dry run of `recoverToDirectory`: whatever it would be refused for, and what it would take. Nothing is written. */
export async function planRecoveryToDirectory(request: DirectoryRecoveryRequest): Promise<PlannedRecovery> {
  return withClaim(request.model, request, () => planRecovery(request));
}

/** Where a comparison puts its tables. */
export interface ComparisonDirectory {
  /** Directory of the tables, and of what resuming needs. */
  output: string;
  /** Replace a comparison that is complete. */
  overwrite?: boolean | undefined;
}

export interface DirectoryComparisonRequest extends Omit<ComparisonRequest, 'store'>, ComparisonDirectory {}

/** `compare` into a directory: comparison.json, .md and .html beside what resuming needs. Throws 'file-exists', 'run-mismatch'. */
export async function compareToDirectory(request: DirectoryComparisonRequest): Promise<ComparisonReport> {
  return withComparisonDirectory(request.model, request, artefactNames.comparisonData, (kept) =>
    compare({ ...request, ...kept }),
  );
}

export interface DirectoryBytesRequest extends Omit<BytesComparisonRequest, 'store'>, ComparisonDirectory {}

/** `compareBytes` into a directory: frontier.json, .md and .svg beside what resuming needs. Throws 'file-exists', 'run-mismatch'. */
export async function compareBytesToDirectory(request: DirectoryBytesRequest): Promise<FrontierReport> {
  return withComparisonDirectory(request.model, request, artefactNames.frontierData, (kept) =>
    compareBytes({ ...request, ...kept }),
  );
}

export interface DirectoryCachePlanRequest
  extends Omit<CachePlanRequest, 'store'>,
    Pick<ComparisonDirectory, 'output'> {}

/** `planCache` with a directory that keeps what it measures: asked again, it measures only what it has not. */
export function planCacheToDirectory(request: DirectoryCachePlanRequest): Promise<PlannedCache> {
  const directory = { output: request.output, overwrite: true };
  return withComparisonDirectory(request.model, directory, artefactNames.frontierData, (kept) =>
    planCache({ ...request, ...kept }),
  );
}

async function withComparisonDirectory<Value>(
  model: Checkpoint,
  { output, overwrite = false }: ComparisonDirectory,
  finishedName: string,
  work: (kept: Pick<ComparisonRequest, 'store' | 'checkSource'>) => Promise<Value>,
): Promise<Value> {
  const directory = resolve(output);
  const finished = join(directory, finishedName);
  const exists = await access(finished).then(
    () => true,
    () => false,
  );
  if (exists && !overwrite) {
    throw new KvlrError('file-exists', {
      message: 'expected no comparison, found one',
      hint: 'Allow overwriting it, or choose another directory.',
      where: { file: finished },
      data: { file: finished, replaceable: true },
    });
  }
  const apartFrom = [{ name: 'the model', path: model.location }];
  const run = await claimRunDirectory({ runDirectory: directory, overwrite, modelId: model.id, apartFrom });
  try {
    const store = new DirectoryRunStore(run.path);
    const checkSource = await watchSource(store, model.location, overwrite);
    return await work({ store, ...(checkSource && { checkSource }) });
  } finally {
    await run.release();
  }
}

/** Where a run with this output keeps its artefacts. */
export function runDirectoryOf({ output, runDirectory }: Pick<OutputSettings, 'output' | 'runDirectory'>): string {
  return resolve(runDirectory ?? `${output.replace(/[/\\]+$/, '')}.run`);
}

/** Does the work of a run while its places are held. */
async function withClaim<Value>(
  model: HuggingFaceCheckpoint,
  settings: OutputSettings,
  work: (claim: OutputClaim) => Promise<Value>,
): Promise<Value> {
  const { output, overwrite = false } = settings;
  const runDirectory = runDirectoryOf(settings);
  const claim = await claimOutput({
    ...{ output, runDirectory, overwrite },
    modelId: model.id,
    modelLocation: model.location,
  });
  try {
    return await work(claim);
  } finally {
    await claim.release();
  }
}

/** A store in the run directory, and the writing of the finished checkpoint, with every tensor that did not change from the source. */
async function runSettings(
  source: HuggingFaceCheckpoint,
  { overwrite = false, maxShardBytes, onEvent, signal }: OutputSettings & RunSettings,
  { output, runDirectory }: OutputClaim,
): Promise<Pick<RunSettings, 'store' | 'write' | 'checkSource'>> {
  const store = new DirectoryRunStore(runDirectory);
  const checkSource = await watchSource(store, source.location, overwrite);
  const claim: PlaceClaim = {
    ...output,
    // Unchanged tensors are copied from the source until the very end.
    async check() {
      await checkSource?.();
      await output.check();
    },
  };
  return {
    store,
    ...(checkSource && { checkSource }),
    write: async ({ model, dtype, recipeYaml, modelCard }: FinishedModel) => {
      const extraFiles = { [artefactNames.recipe]: recipeYaml, 'README.md': modelCard };
      const settings = { source, dtype, maxShardBytes, claim, extraFiles, onEvent, signal };
      await writeCheckpointDirectory(output.path, model, settings);
    },
  };
}
