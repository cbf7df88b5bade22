import type { CalibrationRequest } from '@kvlr/calibration';
import type { BlockInputs } from '@kvlr/compression';
import type {
  AttentionWeights,
  CacheSide,
  CacheStorage,
  CalibrationStatistics,
  DecoderShape,
  LayerStatistics,
  LogitSource,
  ModelSource,
  SideStatistics,
} from '@kvlr/core';
import type { CompareLogits } from '@kvlr/evaluation';
import type { BackendName, LoadModelSettings } from '@kvlr/runtime';
import type { GatherMoments, LoadedPart } from './window-stream.ts';

/** Port: processors that run windows of a model side by side. `createWorkerPool` of `@kvlr/pipeline/node` is one. */
export interface ModelWorkers {
  readonly count: number;
  /** Puts one layer of a model, or its head, on every worker. The caller disposes it. */
  loadPart(source: ModelSource, part: number | 'head', place: PartPlace): Promise<LoadedPart>;
  /** Puts a whole model on every worker. The caller disposes it. */
  load(source: ModelSource, place: WorkerPlace): Promise<ModelInWorkers>;
  /** Second moments of a layer over windows, gathered on one worker, which takes the memory of the activations over. */
  gatherMoments: GatherMoments;
  /** Compares the logits of a window with those of a base, on one worker. */
  compareLogits: CompareLogits;
  /** Groups of one layer, on one worker. */
  group(question: GroupingQuestion): Promise<number[][]>;
}

/** What runs parts of a model on a worker. */
export interface PartPlace {
  backend: BackendName;
  /** The worker's native engine, in place of the backend. */
  native?: boolean;
}

/** What runs a whole model on a worker. */
export interface WorkerPlace extends PartPlace {
  /** Without the native engine: windows run behind such a cache; see `windowSettings`. */
  cache?: CacheStorage;
  /** Without the native engine: windows are read through this cache. */
  coded?: CodedWindows;
}

/** A coded cache that windows are read through, as data: it crosses threads. */
export interface CodedWindows {
  /** As `resolveCache` reads it. */
  name: string;
  /** Of each layer, for codecs that need them. */
  statistics?: Record<CacheSide, SideStatistics>[] | undefined;
}

/** A model that lies on every worker: as many windows run at once. */
export interface ModelInWorkers extends LogitSource {
  /** Statistics of these windows, gathered on one worker. */
  collectStatistics(request: Pick<CalibrationRequest, 'windows' | 'provenance'>): Promise<CalibrationStatistics>;
  dispose(): void;
}

/** Which KV heads of one layer are to share one, as data: it crosses threads. */
export interface GroupingQuestion {
  /** Names of a grouping strategy and of a method. */
  strategy: string;
  method: string;
  shape: DecoderShape;
  layer: number;
  /** KV heads that are to be left. */
  wanted: number;
  /** Their width in widths of a head. */
  headWidth: number;
  weights: AttentionWeights;
  statistics: LayerStatistics | undefined;
  /** What the block reads, for strategies that measure what merges cost. */
  inputs: BlockInputs | undefined;
}

/**
 * How `loadModel` is to run windows: on differentiable ops without a cache, or, with one, on the kernels of generation, where every
 * key and value is read back from it.
 */
export function windowSettings(cache: CacheStorage | undefined): Pick<LoadModelSettings, 'weights' | 'cache'> {
  return cache === undefined ? {} : { weights: 'f32', cache };
}
