import type { CacheDtype, ModelSource, RunControl } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import type { BackendRequest } from '@kvlr/runtime';

/** A model to be timed. */
export interface BenchmarkSubject {
  name: string;
  source: ModelSource;
  /** True where the weights are random: then loading is not timed. */
  randomWeights?: boolean;
}

/** What `benchmarkDecoders` is asked. */
export interface BenchmarkRequest extends RunControl, Pick<BackendRequest, 'backend' | 'wasmPaths'> {
  title: string;
  base: BenchmarkSubject;
  /** Each is loaded beside the base and takes turns with it. */
  others?: readonly BenchmarkSubject[];
  /** Tokens in the cache before the first timed one. Those beyond the models' positions are refused. */
  contexts: readonly number[];
  /** Tokens of the prompts. */
  promptTokens: number;
  /** Sequences side by side. Default [1]. */
  batches?: readonly number[];
  /** Timed tokens a round, a context and a model. Default 16. */
  tokens?: number;
  /** Default 5. */
  rounds?: number;
  /** Default 'f32'. */
  weights?: WeightFormat;
  /** Default 'f32'. */
  cacheDtype?: CacheDtype;
  /** Memory for which the largest batch is computed. */
  memoryBytes?: number;
  /** Times each model at its own largest batch too, at every context. Needs `memoryBytes`. Default false. */
  timeLargestBatch?: boolean;
  /** Seed of tokens and caches. Default 0. */
  seed?: number;
}

export type ResolvedBenchmarkRequest = BenchmarkRequest &
  Required<
    Pick<
      BenchmarkRequest,
      'others' | 'batches' | 'timeLargestBatch' | 'tokens' | 'rounds' | 'weights' | 'cacheDtype' | 'seed'
    >
  >;
