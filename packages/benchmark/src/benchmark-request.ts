import { type CacheDtype, KvlrError, type ModelSource, type RunControl } from '@kvlr/core';
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

/** Fills in defaults and checks that every position exists in every model. Throws 'invalid-argument'. */
export function resolveRequest(request: BenchmarkRequest): ResolvedBenchmarkRequest {
  const resolved: ResolvedBenchmarkRequest = {
    ...request,
    others: request.others ?? [],
    batches: request.batches ?? [1],
    tokens: request.tokens ?? 16,
    rounds: request.rounds ?? 5,
    weights: request.weights ?? 'f32',
    cacheDtype: request.cacheDtype ?? 'f32',
    seed: request.seed ?? 0,
    timeLargestBatch: request.timeLargestBatch ?? false,
  };
  const { contexts, promptTokens, batches, tokens, rounds } = resolved;
  for (const [name, values] of Object.entries({ contexts, promptTokens, batches, tokens, rounds })) {
    const wrong = [values].flat().find((value) => !(Number.isSafeInteger(value) && value >= 1));
    if (wrong === undefined) continue;
    throw new KvlrError('invalid-argument', {
      message: `expected whole numbers from 1, got ${wrong}.`,
      where: { argument: name },
      data: { [name]: values },
    });
  }
  requireTimeable(resolved);
  const needed = Math.max(promptTokens, ...contexts.map((context) => context + tokens + 1));
  for (const { name, source } of [request.base, ...resolved.others]) {
    const { maxPositionEmbeddings } = source.shape;
    if (needed <= maxPositionEmbeddings) continue;
    throw new KvlrError('invalid-argument', {
      message: `expected at most ${maxPositionEmbeddings} positions, which is what ${name} has, got ${needed} (context, timed tokens and one to warm up).`,
      hint: 'Choose shorter contexts, a shorter prompt or fewer tokens.',
      data: { maxPositionEmbeddings, needed },
    });
  }
  return resolved;
}

/** The largest batch is timed with the last tokens of each context, behind at least one. */
function requireTimeable({ timeLargestBatch, memoryBytes, contexts, tokens }: ResolvedBenchmarkRequest): void {
  if (!timeLargestBatch) return;
  const shortest = Math.min(...contexts);
  if (memoryBytes !== undefined && shortest > tokens + 1) return;
  throw new KvlrError('invalid-argument', {
    message:
      memoryBytes === undefined
        ? 'expected memoryBytes with timeLargestBatch, got none.'
        : `expected contexts of at least ${tokens + 2} tokens to time ${tokens} at their end, got ${shortest}.`,
    data: { memoryBytes, contexts, tokens },
  });
}
