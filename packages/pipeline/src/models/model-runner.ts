import { type CalibrationRequest, collectStatistics } from '@kvlr/calibration';
import type {
  ActivationSource,
  CacheDtype,
  CalibrationStatistics,
  EventListener,
  LogitSource,
  ModelSource,
} from '@kvlr/core';
import { type BackendChoice, type BackendRequest, loadModel, selectBackend } from '@kvlr/runtime';
import { collectInParts } from '../calibration/collect-in-parts.ts';
import type { ModelInWorkers, ModelWorkers } from '../workers/model-workers.ts';
import { windowSettings } from './window-settings.ts';

/** Where models are run. */
export interface RunnerRequest extends Omit<BackendRequest, 'onEvent'> {
  /** Runs windows side by side where the backend computes on the CPU. Stays open; whoever made it closes it. */
  workers?: ModelWorkers | undefined;
}

/** Loads models on one backend for as long as they are used, so that only what is in use takes memory. */
export class ModelRunner {
  private constructor(
    readonly choice: BackendChoice,
    private readonly request: RunnerRequest,
  ) {}

  /** Takes a backend and tells `onEvent` which and why. Throws 'backend-unavailable' when the one asked for does not work. */
  static async create(request: RunnerRequest, onEvent?: EventListener): Promise<ModelRunner> {
    const { workers, ...backendRequest } = request;
    const choice = await selectBackend({ ...backendRequest, onEvent });
    const usesWorkers = choice.backend !== 'webgpu' && workers !== undefined && workers.count > 1;
    return new ModelRunner(choice, {
      ...backendRequest,
      backend: choice.backend,
      workers: usesWorkers ? workers : undefined,
    });
  }

  /** Loads a model, hands over its logits (`cacheDtype` as in `windowSettings`), and frees it whatever happens. */
  async use<Value>(
    source: ModelSource,
    work: (model: LogitSource) => Promise<Value>,
    cacheDtype?: CacheDtype,
  ): Promise<Value> {
    const settings = { ...this.request, ...windowSettings(cacheDtype) };
    const model = (await this.loadInWorkers(source, cacheDtype)) ?? (await loadModel(source, settings));
    try {
      return await work(model);
    } finally {
      model.dispose();
    }
  }

  /** Loads a model in this thread, hands over its activations, and frees it whatever happens. */
  async useActivations<Value>(source: ModelSource, work: (model: ActivationSource) => Promise<Value>): Promise<Value> {
    const model = await loadModel(source, this.request);
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
    const activations = await loadModel(source, this.request);
    try {
      return await collectInParts(request, 1, (part) =>
        collectStatistics({ ...part, activations, signal: request.signal }),
      );
    } finally {
      activations.dispose();
    }
  }

  private async loadInWorkers(source: ModelSource, cacheDtype?: CacheDtype): Promise<ModelInWorkers | undefined> {
    return this.request.workers?.load(source, this.choice.backend, cacheDtype);
  }
}
