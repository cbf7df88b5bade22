import { type CalibrationRequest, collectStatistics, mergeStatistics } from '@kvlr/calibration';
import {
  type ActivationSource,
  type CacheDtype,
  type CalibrationStatistics,
  type EventListener,
  type LogitSource,
  type ModelSource,
  mapInOrder,
} from '@kvlr/core';
import { type BackendChoice, type BackendRequest, loadModel, selectBackend } from '@kvlr/runtime';
import { chooseEngine, type EngineRequest, type NativeEngine } from './engine.ts';
import { type ModelInWorkers, type ModelWorkers, windowSettings } from './workers.ts';

/** Where models are run. */
export interface RunnerRequest extends Omit<BackendRequest, 'onEvent'>, EngineRequest {
  /** Runs windows side by side where the backend computes on the CPU. Stays open; whoever made it closes it. */
  workers?: ModelWorkers | undefined;
}

/** Loads models for as long as they are used, on one backend or in native code, so that only what is in use takes memory. */
export class ModelRunner {
  private constructor(
    readonly choice: BackendChoice,
    private readonly request: Omit<RunnerRequest, keyof EngineRequest>,
    /** Runs windows in the place of the backend. */
    private readonly engine: { native?: NativeEngine; reason: string },
  ) {}

  /**
   * Takes a backend and an engine and tells `onEvent` which and why. Throws 'backend-unavailable' when one that was asked for does not
   * work.
   */
  static async create(request: RunnerRequest, onEvent?: EventListener): Promise<ModelRunner> {
    const { workers, engine, nativeEngine, ...backendRequest } = request;
    const choice = await selectBackend({ ...backendRequest, onEvent });
    const chosen = await chooseEngine({ engine, nativeEngine }, choice.backend, onEvent);
    const onProcessors = choice.backend !== 'webgpu' || chosen.native !== undefined;
    const usesWorkers = onProcessors && workers !== undefined && workers.count > 1;
    const settings = { ...backendRequest, backend: choice.backend, workers: usesWorkers ? workers : undefined };
    return new ModelRunner(choice, settings, chosen);
  }

  /** What computes and why, for reports. */
  get description(): string {
    const backend = `${this.choice.backend} (${this.choice.reason})`;
    return this.engine.native ? `${this.engine.reason}; training on ${backend}` : backend;
  }

  /** Loads a model, hands over its logits (`cacheDtype` as in `windowSettings`), and frees it whatever happens. */
  async use<Value>(
    source: ModelSource,
    work: (model: LogitSource) => Promise<Value>,
    cacheDtype?: CacheDtype,
  ): Promise<Value> {
    const model = (await this.loadInWorkers(source, cacheDtype)) ?? (await this.loadHere(source, cacheDtype));
    try {
      return await work(model);
    } finally {
      model.dispose();
    }
  }

  /** Loads a model in this thread, hands over its activations, and frees it whatever happens. */
  async useActivations<Value>(source: ModelSource, work: (model: ActivationSource) => Promise<Value>): Promise<Value> {
    const model = await this.loadHere(source);
    try {
      return await work(model);
    } finally {
      model.dispose();
    }
  }

  /** Second moments of a model's activations. The same numbers with and without workers. */
  async collectStatistics(
    source: ModelSource,
    request: Omit<CalibrationRequest, 'activations'>,
  ): Promise<CalibrationStatistics> {
    const inWorkers = await this.loadInWorkers(source);
    if (inWorkers) {
      try {
        return await collectInParts(request, inWorkers.concurrency ?? 1, (part) => inWorkers.collectStatistics(part));
      } finally {
        inWorkers.dispose();
      }
    }
    return this.useActivations(source, (activations) =>
      collectInParts(request, 1, (part) => collectStatistics({ ...part, activations, signal: request.signal })),
    );
  }

  /** Caches of few bits are those of the kernels of generation: native code has none. */
  private async loadHere(source: ModelSource, cacheDtype?: CacheDtype) {
    if (this.engine.native && cacheDtype === undefined) return this.engine.native.load(source);
    return loadModel(source, { ...this.request, ...windowSettings(cacheDtype) });
  }

  private async loadInWorkers(source: ModelSource, cacheDtype?: CacheDtype): Promise<ModelInWorkers | undefined> {
    const native = this.engine.native !== undefined && cacheDtype === undefined;
    return this.request.workers?.load(source, { backend: this.choice.backend, native, cacheDtype });
  }
}

/** Windows whose moments are summed before they meet the others: fixed, so that sums do not depend on the workers. */
const windowsPerPart = 4;

type Part = Pick<CalibrationRequest, 'windows' | 'provenance'>;

/**
 * Statistics of all windows, gathered in parts of a few windows that may run side by side and are merged in their order: the
 * numbers are the same, bit for bit, whoever gathers them and however many at once.
 */
async function collectInParts(
  request: Part & Pick<CalibrationRequest, 'onEvent' | 'signal'>,
  concurrency: number,
  collectPart: (part: Part) => Promise<CalibrationStatistics>,
): Promise<CalibrationStatistics> {
  const { windows, provenance, onEvent, signal } = request;
  const count = Math.max(1, Math.ceil(windows.length / windowsPerPart));
  const parts = Array.from({ length: count }, (_, part) =>
    windows.slice(part * windowsPerPart, (part + 1) * windowsPerPart),
  );
  let merged: CalibrationStatistics | undefined;
  let completed = 0;
  await mapInOrder({
    items: parts,
    concurrency,
    signal,
    work: (part) => collectPart({ windows: part, provenance }),
    onResult: (next, part) => {
      merged = merged ? mergeStatistics([merged, next]) : next;
      completed += parts[part]!.length;
      onEvent?.({ type: 'progress', stage: 'statistics', completed, total: windows.length, unit: 'windows' });
    },
  });
  const { runs: _, ...ofOneRun } = merged!.provenance;
  return { layers: merged!.layers, provenance: ofOneRun };
}

/** Runs work that may need a model: it is loaded when it is first asked for, and freed when the work is done. */
export async function useOnDemand<Value>(
  runner: Pick<ModelRunner, 'use'>,
  model: ModelSource,
  work: (load: () => Promise<LogitSource>) => Promise<Value>,
): Promise<Value> {
  let finish = () => {};
  const finished = new Promise<void>((resolve) => {
    finish = resolve;
  });
  let inUse: Promise<void> | undefined;
  const load = once(
    () =>
      new Promise<LogitSource>((resolve, reject) => {
        inUse = runner.use(model, (loaded) => {
          resolve(loaded);
          return finished;
        });
        inUse.catch(reject);
      }),
  );
  try {
    return await work(load);
  } finally {
    finish();
    await inUse;
  }
}

/** Wraps a computation that several may need, or none, so that it is done at most once. */
export function once<Value>(compute: () => Promise<Value>): () => Promise<Value> {
  let pending: Promise<Value> | undefined;
  return () => {
    pending ??= compute();
    return pending;
  };
}
