import { type RowSamples, rowSampler, windowReader } from '@kvlr/cache';
import type { CalibrationRequest } from '@kvlr/calibration';
import {
  type CacheDtype,
  type CodedCache,
  countParameters,
  type EventListener,
  type LayerStatistics,
  type LogitSource,
  type ModelSource,
  memoryStreams,
  type RunControl,
  type StreamStorage,
  throwIfAborted,
} from '@kvlr/core';
import type { CompareLogits } from '@kvlr/evaluation';
import type { LoadLayer, NativeReconstruction, NativeTraining } from '@kvlr/recovery';
import {
  type BackendChoice,
  type BackendRequest,
  DecoderInParts,
  type DecoderModel,
  loadModel,
  selectBackend,
} from '@kvlr/runtime';
import { collectInGroups, type WholeModel } from './collect-in-groups.ts';
import { chooseEngine, type EngineRequest, type ModelParts, type NativeEngine } from './engine.ts';
import { wholeModelBytes } from './facts.ts';
import { inTurns } from './in-turns.ts';
import { loadHere, windowsOnDevice } from './load-here.ts';
import { once } from './once.ts';
import type { WindowMeans } from './window-means.ts';
import { type LoadPart, WindowStream } from './window-stream.ts';
import { type CodedWindows, type ModelWorkers, windowSettings } from './workers.ts';

/** Where models are run. */
export interface RunnerRequest extends Omit<BackendRequest, 'onEvent'>, EngineRequest {
  /** Runs windows side by side where the backend computes on the CPU. Stays open; whoever made it closes it. */
  workers?: ModelWorkers | undefined;
  /** Where the residual streams of windows lie between two layers. Default: memory. */
  streams?: StreamStorage | undefined;
}

/** Windows whose logits are compared on threads at once: each takes memory for all its logits, twice. */
const mostCompared = 8;

/** Loads models for as long as they are used, on one backend or in native code, so that only what is in use takes memory. */
export class ModelRunner {
  private constructor(
    readonly choice: BackendChoice,
    private readonly request: Omit<RunnerRequest, keyof EngineRequest>,
    /** Runs windows in the place of the backend. */
    private readonly engine: { native?: NativeEngine; reason: string },
    /** Whether a GPU runs them. */
    private readonly onDevice: boolean,
    /** Threads beside it. */
    private readonly helpers: ModelWorkers | undefined,
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
    const helpers = onProcessors || (workers?.count ?? 0) <= 1 ? undefined : workers;
    return new ModelRunner(choice, settings, chosen, !onProcessors, helpers);
  }

  /** What runs windows, for estimates. */
  get means(): WindowMeans {
    return {
      backend: this.choice.backend,
      native: this.engine.native !== undefined,
      threads: this.request.workers?.count ?? 1,
      streamBytes: this.streams.memoryBytes,
    };
  }

  /** Where the residual streams of windows lie between two layers. */
  get streams(): StreamStorage {
    return this.request.streams ?? memoryStreams;
  }

  /** What computes and why, for reports. */
  get description(): string {
    const backend = `${this.choice.backend} (${this.choice.reason})`;
    return this.engine.native ? `${this.engine.reason}; the rest on ${backend}` : backend;
  }

  /**
   * Embeds windows, hands them over on their way through the model, of which one part at a time is loaded, and frees what it took
   * whatever happens.
   */
  async stream<Value>(
    source: ModelSource,
    windows: readonly Int32Array[],
    work: (stream: WindowStream) => Promise<Value>,
    { signal }: Pick<RunControl, 'signal'> = {},
  ): Promise<Value> {
    const decoder = await DecoderInParts.open(source, this.request);
    const store = this.streams.open();
    const load = this.partLoader(source, async () => (await this.engine.native?.open(source)) ?? decoder);
    const stream = new WindowStream(source, windows, store, load, this.request.workers?.count ?? 1, signal);
    try {
      let place = 0;
      for await (const embedded of decoder.embed(windows)) {
        throwIfAborted(signal);
        await store.write(place++, embedded);
      }
      return await work(stream);
    } finally {
      await stream.dispose();
    }
  }

  /** Compares logits on threads beside a GPU; undefined where there are none. */
  get compareLogits(): CompareLogits | undefined {
    return this.helpers?.compareLogits;
  }

  /** Layers forwards and backwards in native code; undefined where they are trained on TensorFlow.js. */
  get nativeTraining(): NativeTraining | undefined {
    return this.engine.native?.training;
  }

  /** Whole layers and attention in training, in native code; undefined where blocks are reconstructed on TensorFlow.js. */
  get nativeReconstruction(): NativeReconstruction | undefined {
    const { nativeTraining: training, loadNativeLayer: loadLayer } = this;
    return training && loadLayer && { training, loadLayer };
  }

  /** Loads single layers in native code; undefined where windows run on TensorFlow.js. */
  get loadNativeLayer(): LoadLayer | undefined {
    const { native } = this.engine;
    if (native === undefined) return undefined;
    return async (source, layer) => {
      const { concurrency, pass, dispose } = await this.partLoader(source, () => native.open(source))(layer);
      return {
        concurrency,
        async pass(stream, taps) {
          const { streams, activations } = await pass({ streams: [stream], taps });
          const tokens = stream.length / source.shape.hiddenSize;
          return { after: streams[0]!, activations: activations?.[0] ?? { layer, tokens } };
        },
        dispose,
      };
    };
  }

  /** Takes windows through a model, whole or in parts, and hands over their logits. */
  async use<Value>(
    source: ModelSource,
    windows: readonly Int32Array[],
    work: (model: LogitSource) => Promise<Value>,
    control: RunControl = {},
  ): Promise<Value> {
    if (this.takesWhole(source)) return this.useWhole(source, work);
    if (this.fitsDevice(source)) return this.useOnDevice(source, work);
    const total = source.shape.numLayers;
    const progress = { type: 'progress', stage: 'evaluation', total, unit: 'layers' } as const;
    const take = async (stream: WindowStream) => {
      await stream.advanceToEnd((completed) => control.onEvent?.({ ...progress, completed }));
      return work(stream);
    };
    return this.stream(source, windows, take, control);
  }

  /** Loads a whole model, hands over its logits with keys and values read back from a cache of a dtype, and frees it whatever happens. */
  async useCached<Value>(
    source: ModelSource,
    cacheDtype: CacheDtype,
    work: (model: LogitSource) => Promise<Value>,
  ): Promise<Value> {
    const { workers } = this.request;
    const { backend } = this.choice;
    const cache = { dtype: cacheDtype };
    const settings = { ...this.request, ...windowSettings(cache) };
    const model = workers ? await workers.load(source, { backend, cache }) : await loadModel(source, settings);
    try {
      return await work(model);
    } finally {
      model.dispose();
    }
  }

  /** Loads a whole model as for generation, and continues each prompt by the likeliest tokens: their ids, without the prompt's. */
  async write(
    source: ModelSource,
    prompts: readonly Int32Array[],
    { newTokens, stopIds, signal }: { newTokens: number; stopIds: readonly number[]; signal?: AbortSignal | undefined },
  ): Promise<number[][]> {
    const { workers: _, streams: __, ...request } = this.request;
    const model = await loadModel(source, { ...request, weights: 'f16', cache: { dtype: 'f16' }, signal });
    try {
      const texts: number[][] = [];
      for (const prompt of prompts) {
        const ids: number[] = [];
        for await (const { tokenId } of model.generate(prompt, { maxNewTokens: newTokens, stopIds, signal }))
          ids.push(tokenId);
        texts.push(ids);
      }
      return texts;
    } finally {
      model.dispose();
    }
  }

  /** Loads a whole model as for generation, weights as they are. */
  async useGenerating<Value>(source: ModelSource, work: (model: DecoderModel) => Promise<Value>): Promise<Value> {
    const model = await loadModel(source, { backend: this.choice.backend, weights: 'f32' });
    try {
      return await work(model);
    } finally {
      model.dispose();
    }
  }

  /** Loads a whole model, hands over its logits with windows read through a coded cache, and frees it whatever happens. */
  async useCoded<Value>(
    source: ModelSource,
    { cache, ...coded }: CodedWindows & { cache: CodedCache },
    work: (model: LogitSource) => Promise<Value>,
  ): Promise<Value> {
    const { workers } = this.request;
    const { backend } = this.choice;
    const model = workers ? await workers.load(source, { backend, coded }) : await loadModel(source, { backend });
    try {
      return await work(
        'readThrough' in model ? model.readThrough(windowReader({ ...coded, shape: source.shape, cache })) : model,
      );
    } finally {
      model.dispose();
    }
  }

  /** Slices of keys and values of every layer over windows, evenly spread, at most `count` of each: see `rowSampler`. */
  async sampleRows(source: ModelSource, windows: readonly Int32Array[], count: number): Promise<RowSamples[]> {
    const model = await loadModel(source, { backend: this.choice.backend });
    try {
      const tokens = windows.reduce((sum, { length }) => sum + length, 0);
      const { reader, samples } = rowSampler({ shape: source.shape, tokens, count });
      const reading = model.readThrough(reader);
      for (const window of windows) await reading.logits(window);
      return samples;
    } finally {
      model.dispose();
    }
  }

  /**
   * Second moments of a model's layers over windows, layer after layer from `from` on. The same numbers, bit for bit, with and without
   * workers, whole or in parts.
   */
  async gatherStatistics(source: ModelSource, request: GatherRequest): Promise<void> {
    const { windows, provenance, from = 0, keep, onEvent, signal } = request;
    const report = (completed: number, total: number, unit: string) =>
      onEvent?.({ type: 'progress', stage: 'statistics', completed, total, unit });
    if (this.takesWhole(source)) {
      const statistics = await this.useWhole(source, (model) =>
        collectInGroups(model, { windows, provenance, signal, onEvent }),
      );
      for (const layer of statistics.layers.slice(from)) await keep(layer);
      return;
    }
    const total = source.shape.numLayers * windows.length;
    const gather = async (stream: WindowStream) => {
      while (stream.layer < from) await stream.advance();
      while (stream.layer < source.shape.numLayers) {
        let completed = stream.layer * windows.length;
        await keep(
          await stream.advanceGathering((passed) => {
            completed += passed;
            report(completed, total, 'windows in layers');
          }),
        );
      }
    };
    await this.stream(source, windows, gather, { signal });
  }

  /** How parts of a model are put where windows can pass through them: on every worker, or here. */
  private partLoader(source: ModelSource, open: () => Promise<ModelParts>): LoadPart {
    const { workers } = this.request;
    const place = { backend: this.choice.backend, native: this.engine.native !== undefined };
    if (workers) return (part) => workers.loadPart(source, part, place);
    const parts = once(open);
    return async (part) => loadHere(await parts(), source, part, this.helpers);
  }

  /** Whether windows run through the whole model at once: in native code, where it is small enough to lie there in several copies. */
  private takesWhole(source: ModelSource): boolean {
    return this.engine.native !== undefined && 4 * countParameters(source) <= wholeModelBytes;
  }

  /** Whether windows run through the whole model on a GPU: they stay there from the first layer to the last. */
  private fitsDevice(source: ModelSource): boolean {
    return this.onDevice && 4 * countParameters(source) <= wholeModelBytes;
  }

  private async useOnDevice<Value>(source: ModelSource, work: (model: LogitSource) => Promise<Value>): Promise<Value> {
    const model = await loadModel(source, { backend: this.choice.backend });
    const { losses } = model;
    const turn = inTurns(windowsOnDevice);
    try {
      return await work({
        vocabSize: model.vocabSize,
        // More than the device has are under way where threads compare what it gives.
        concurrency: windowsOnDevice + (this.helpers === undefined ? 0 : Math.min(this.helpers.count, mostCompared)),
        logits: (tokenIds) => turn(() => model.logits(tokenIds)),
        ...(losses && { losses: (tokenIds, targets) => turn(() => losses(tokenIds, targets)) }),
      });
    } finally {
      model.dispose();
    }
  }

  private async useWhole<Value>(source: ModelSource, work: (model: WholeModel) => Promise<Value>): Promise<Value> {
    const { workers } = this.request;
    const place = { backend: this.choice.backend, native: true };
    const model = workers ? await workers.load(source, place) : await this.engine.native!.load(source);
    try {
      return await work(model);
    } finally {
      model.dispose();
    }
  }
}

export interface GatherRequest extends Pick<CalibrationRequest, 'windows' | 'provenance' | 'onEvent' | 'signal'> {
  /** The first layer whose statistics are wanted. */
  from?: number;
  /** Given the statistics of one layer after another. */
  keep(statistics: LayerStatistics): Promise<void>;
}
