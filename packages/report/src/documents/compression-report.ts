import type { CacheSize, DecoderShape, EvaluationResult, Measurement } from '@kvlr/core';

/** Time one stage of the run took. */
export interface StageTiming {
  title: string;
  /** In this run. */
  seconds: number;
  /** In earlier runs, for what was taken over from them; null where they kept no record of it. */
  earlierSeconds?: number | null;
  /** True when the stage was taken over from an earlier run. */
  skipped?: boolean;
}

/** What is known of a model that no text was evaluated on. */
export interface UnmeasuredModel {
  modelId: string;
  cache: CacheSize;
}

/** Whether a model was evaluated. */
export function isMeasured(model: EvaluationResult | UnmeasuredModel): model is EvaluationResult {
  return 'perplexity' in model;
}

/** Everything that a report on one compressed checkpoint shows: plain data, ready for JSON. */
export interface CompressionReport {
  title: string;
  /** The model before compression. */
  model: ReportedModel;
  /** Shape of the compressed model. */
  resultShape: DecoderShape;
  /** Both were measured on the same windows, or neither was. `result.againstBase` carries KL and agreement. */
  base: EvaluationResult | UnmeasuredModel;
  result: EvaluationResult | UnmeasuredModel;
  /** Context lengths, tokens, at which the size of the cache is shown. */
  contexts: number[];
  /** The recipe as it was run; nested values are shown by their path. */
  recipe: Record<string, unknown>;
  stages: StageTiming[];
  environment: RunEnvironment;
  spectra?: LayerSpectra[];
  heads?: LayerHeads[];
  reconstruction?: LayerReconstruction[];
  /** What both models write after the same beginnings. */
  samples?: TextSample[];
  /** What stands beside the result: the way there, and caches of fewer bits. */
  alternatives?: Alternatives;
  /** The command line that makes the run again, where it was started. */
  repeat?: string;
  /** Training end to end, where there was any. */
  training?: TrainingCourse;
  /** What a reader has to know, one sentence each: a light reconstruction, warnings of the run. */
  notes?: string[];
}

/** The model a report is about. */
export interface ReportedModel {
  /** For people: a path, a hub id or "embedded reference model". */
  name: string;
  shape: DecoderShape;
  /** Numbers in its weights. */
  parameters?: number;
  /** Licence of the weights, as their owner states it. */
  licence?: string;
}

/** What the figures were made on. Everything that is absent is left out of the report. */
export interface RunEnvironment {
  /** Backend of the runtime and why it was taken, for example "wasm (no WebGPU adapter)". */
  backend: string;
  /** One line about the machine: processor, cores, memory. */
  machine?: string;
  /** Largest resident memory of the run, and of those that it took work over from, bytes. */
  peakMemoryBytes?: number;
  /** Versions by name: kvlr, node, tfjs. */
  versions?: Record<string, string>;
  /** Day or moment of the run, ISO 8601. */
  date?: string;
}

/** Eigenvalues of one layer's second moments, each list descending and >= 0, of any scale. */
export interface LayerSpectra {
  layer: number;
  /** Of the keys of all KV heads side by side before RoPE, up to KV heads x headDim values. */
  keysBeforeRope: ArrayLike<number>;
  /** Of the same keys after RoPE. */
  keysAfterRope: ArrayLike<number>;
  values: ArrayLike<number>;
}

/** The three spectra of a layer, in the order and under the names in which reports show them. */
export const spectrumKinds = [
  { kind: 'keysBeforeRope', title: 'keys before RoPE' },
  { kind: 'keysAfterRope', title: 'keys after RoPE' },
  { kind: 'values', title: 'values' },
] as const;

/** Which heads of a layer share one, and how much they have in common. */
export interface LayerHeads {
  layer: number;
  /** KV heads by the head that they share. */
  groups: number[][];
  /** [K][K], symmetric: 1 where keys and values of two heads span the same directions, 0 where they have none in common. */
  affinity: number[][];
}

/** A beginning out of held-out text, and how both models go on: the likeliest token each time. */
export interface TextSample {
  source: string;
  prompt: string;
  base: string;
  result: string;
  /** How many of their first characters both have in common. */
  sharedCharacters: number;
}

/** Heads of an alternative: the original's; the result's after the closed form, after a refit of outputs, after everything. */
type AlternativeHeads = 'original' | 'closed form' | 'refit' | 'result';

/** Some heads with their cache in some dtype: what they cost, and the bytes that they take. */
export interface Alternative {
  heads: AlternativeHeads;
  /** As `kvlr eval --cache-dtype` calls it; undefined for the cache that the report counts in. */
  cacheDtype?: 'int8' | 'int4';
  /** Exact, all layers, scales included. */
  bytesPerToken: number;
  /** To the original's perplexity, paired over windows. */
  perplexityRatio: Measurement;
}

/** Alternatives measured on the same windows, the original first. */
export interface Alternatives {
  points: Alternative[];
  windowCount: number;
  windowLength: number;
}

/** One reading of the error while a layer's block was fitted. */
export interface ReconstructionStep {
  /** Optimiser steps taken before the reading; 0 is the closed-form start. */
  step: number;
  /** Error on the text that is fitted. */
  trainingError?: number;
  /** Error on held-out calibration text. */
  heldOutError?: number;
}

/** One look at held-out text while a model was trained end to end. */
interface TrainingReading {
  /** Trained on by then. */
  tokens: number;
  /** Mean loss of the steps since the last reading; none at the first. */
  trainingLoss?: number;
  /** The loss that decides which weights are kept: KL divergence, cross-entropy of next tokens or a mixture, nats a token. */
  heldOutLoss: number;
  heldOutPerplexity: number;
  /** Behind the last step: at this part of the way from the weights before training to those of the last step. */
  partOfTheWay?: number;
}

/** How training end to end went. */
export interface TrainingCourse {
  /** The weights that were kept are those of the least held-out loss. */
  readings: TrainingReading[];
}

/**
 * How block reconstruction went for one layer. Errors are squared errors of the residual stream after the block, as a share
 * of the energy of what the original block adds to it.
 */
export interface LayerReconstruction {
  layer: number;
  /** Held-out error of the closed-form factors and of the weights that were kept. */
  heldOutBefore: number;
  heldOutAfter: number;
  history: ReconstructionStep[];
}
