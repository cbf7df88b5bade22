import type { CacheDtype, DecoderShape } from '@kvlr/core';
import type { RunEnvironment } from './compression-report.ts';

/** Times of one kind of step, milliseconds. */
export interface TimeSummary {
  samples: number;
  p50: number;
  p95: number;
  least: number;
}

/** Medians in milliseconds of the same work on the main thread and on the device. */
export interface SplitTime {
  host: number;
  /** By timestamps; absent where the device has none. */
  device?: number;
}

/** How many times as fast as the base, round by round in one run: a round's ratio is that of the two medians. */
export interface PairedSpeedup {
  rounds: number;
  median: number;
  lowest: number;
  highest: number;
}

/** A model that was timed. */
export interface BenchmarkedModel {
  name: string;
  shape: DecoderShape;
  /** True where only the shape is that of a model: time depends on sizes alone. */
  randomWeights: boolean;
  /** Seconds from the checkpoint to the device; absent for random weights. */
  loadSeconds?: number;
  /** Bytes of the model's tensors on the device, tables included. */
  weightBytes: number;
  cacheBytesPerToken: number;
}

/** Prompts that were run at once. */
export interface PrefillRow {
  model: string;
  batch: number;
  promptTokens: number;
  /** From the prompt to the logits behind it and the token chosen from them. */
  firstToken: TimeSummary;
  /** Prompt tokens of all sequences by the median time. */
  tokensPerSecond: number;
  speedup?: PairedSpeedup;
}

/** Single tokens behind a cache of some length. */
export interface DecodeRow {
  model: string;
  batch: number;
  /** Tokens in the cache of each sequence before the first timed one. */
  context: number;
  /** One step: a new token of every sequence. */
  step: TimeSummary;
  /** New tokens of all sequences by the median time. */
  tokensPerSecond: number;
  /** Bytes of the cache's entries at the context, exactly. */
  cacheBytes: number;
  /** Bytes of weights and cache that the kernels of one step read, as counted. */
  bytesReadPerStep: number;
  /** Compute dispatches of one step, as counted; absent where there is no GPU. */
  dispatchesPerStep?: number;
  /** Weights and the cache's entries together. */
  deviceBytes: number;
  /** Where the device runs steps by itself: what one takes of the main thread, and on the device. */
  recorded?: SplitTime;
  speedup?: PairedSpeedup;
}

/** The largest batch whose caches fit beside the weights, by formula. */
export interface BatchRow {
  model: string;
  context: number;
  /** 0 where not even one sequence fits. */
  batch: number;
  /** One step of so many sequences, the context's last tokens; absent where it was not timed. */
  step?: TimeSummary;
  /** New tokens of all sequences by the median time. */
  tokensPerSecond?: number;
  /** In tokens per second, each model at its own largest batch. */
  speedup?: PairedSpeedup;
}

/** Models timed against each other in one run: plain data, ready for JSON. */
export interface BenchmarkReport {
  title: string;
  /** The base first: speed-ups of the others are against it. */
  models: BenchmarkedModel[];
  weightFormat: string;
  cacheDtype: CacheDtype;
  rounds: number;
  prefills: PrefillRow[];
  decodes: DecodeRow[];
  /** Present where a memory size was given. */
  largestBatches?: { memoryBytes: number; rows: BatchRow[] };
  /** Most memory that the backend held in the run, two models with their caches at a time; absent where it is unknown. */
  heldBytes?: number;
  environment: RunEnvironment;
  notes: string[];
}

/** Decode attention of one layer: one new token over a cache. */
export interface AttentionRow {
  context: number;
  dtype: CacheDtype;
  keyValueHeads: number;
  /** One call. */
  call: TimeSummary;
  /** Bytes of cache that a call reads, exactly. */
  bytesRead: number;
  /** On WebGPU: a call's share of the main thread, and of the device when calls follow each other in one pass. */
  split?: SplitTime;
  /** By the time on the device where it is known, else by the median time. */
  bytesPerSecond: number;
  /** Against the most KV heads at this context and dtype. */
  speedup?: PairedSpeedup;
}

/** Attention alone, beside what the device copies. */
export interface AttentionReport {
  title: string;
  numAttentionHeads: number;
  headDim: number;
  /** Bytes read and written per second when memory is copied. */
  copyBytesPerSecond: number;
  rows: AttentionRow[];
  environment: RunEnvironment;
  notes: string[];
}

/** One engine on a model's weights. */
export interface EngineRow {
  /** Engine, device, threads. */
  engine: string;
  /** Which model: 'original', '1/4 of the KV heads'. */
  model: string;
  /** Element types of weights and cache. */
  dtypes: string;
  /** Tokens before the first timed one. */
  context: number;
  /** One token. Absent with a reason where the engine did not run. */
  step?: TimeSummary;
  /** Processor time of all threads for one token, milliseconds, a sample a round. */
  processor?: TimeSummary;
  tokensPerSecond?: number;
  /** Against the first row of the same model. */
  speedup?: PairedSpeedup;
  problem?: string;
}

/** Engines side by side in one run on the same weights. */
export interface EngineReport {
  title: string;
  rounds: number;
  rows: EngineRow[];
  environment: RunEnvironment;
  notes: string[];
}
