import { type CacheDtype, cacheBytes, KvlrError, type ModelSource, type RunControl } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { type BenchmarkedModel, type BenchmarkReport, formatBytes } from '@kvlr/report';
import { type BackendChoice, type BackendRequest, type DecoderModel, loadModel, selectBackend } from '@kvlr/runtime';
import { collectBatches, collectRows, type LargestBatchPair, type MeasuredPair } from './report-rows.ts';
import { tensorBytes, timeLargestBatches, timePair } from './time-pairs.ts';

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

interface LoadedSubject {
  model: DecoderModel;
  described: BenchmarkedModel;
}

/**
 * Times a decoder, and others beside it, on one backend: prompts, and single tokens behind caches that are filled with random entries.
 * The base and each other model are loaded together and take turns (see `measureInRounds`), so that a busy machine is busy for both;
 * speed-ups are paired by round. Bytes and dispatches are the kernels' own counts. Throws 'invalid-argument', 'aborted' and what
 * `loadModel` throws.
 */
export async function benchmarkDecoders(request: BenchmarkRequest): Promise<BenchmarkReport> {
  const resolved = resolveRequest(request);
  const { base, others, title, rounds, weights, cacheDtype, onEvent, signal } = resolved;
  const models = new Map<string, BenchmarkedModel>();
  const pairs: MeasuredPair[] = [];
  const batchPairs: LargestBatchPair[] = [];
  const backend = await selectBackend({ backend: resolved.backend, wasmPaths: resolved.wasmPaths });
  for (const subjects of others.length > 0 ? others.map((other) => [base, other]) : [[base]]) {
    const loaded: LoadedSubject[] = [];
    try {
      for (const subject of subjects) loaded.push(await load(subject, resolved, backend));
      for (const { described } of loaded) if (!models.has(described.name)) models.set(described.name, described);
      const names = subjects.map(({ name }) => name);
      onEvent?.({ type: 'note', message: names.join(' against ') });
      const samples = await timePair(
        loaded.map(({ model }) => model),
        resolved,
        { onEvent, signal },
      );
      pairs.push({ names, samples });
      if (resolved.timeLargestBatch) {
        batchPairs.push({ names, samples: await timeLargestBatches(loaded, resolved, { onEvent, signal }) });
      }
    } finally {
      for (const { model } of loaded) model.dispose();
    }
  }
  const described = [...models.values()];
  const measured = [...pairs.map(({ samples }) => samples), ...batchPairs.flatMap(({ samples }) => samples)];
  const held = measured.flatMap((samples) => samples.heldBytes ?? []);
  const heldBytes = held.length > 0 ? Math.max(...held) : undefined;
  return {
    title,
    models: described,
    weightFormat: weights,
    cacheDtype,
    rounds,
    ...collectRows(described, pairs, backend.backend === 'webgpu'),
    ...collectBatches(described, batchPairs, resolved),
    ...(heldBytes !== undefined && { heldBytes }),
    environment: { backend: `${backend.backend} (${backend.reason})` },
    notes: describeConditions(resolved, backend, heldBytes),
  };
}

async function load(
  subject: BenchmarkSubject,
  request: ResolvedBenchmarkRequest,
  { backend }: BackendChoice,
): Promise<LoadedSubject> {
  const { wasmPaths, weights, cacheDtype, signal } = request;
  const { name, source, randomWeights = false } = subject;
  const bytesBefore = tensorBytes();
  const started = performance.now();
  const model = await loadModel(source, { backend, wasmPaths, weights, signal });
  const loadSeconds = (performance.now() - started) / 1000;
  const described: BenchmarkedModel = {
    name,
    shape: source.shape,
    randomWeights,
    ...(!randomWeights && { loadSeconds }),
    weightBytes: tensorBytes() - bytesBefore,
    cacheBytesPerToken: cacheBytes(source.shape, { dtype: cacheDtype, capacity: 1 }),
  };
  return { model, described };
}

/** Fills in defaults and checks that every position exists in every model. Throws 'invalid-argument'. */
function resolveRequest(request: BenchmarkRequest): ResolvedBenchmarkRequest {
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

/** What a reader has to know to take the figures for what they are. */
function describeConditions(
  request: ResolvedBenchmarkRequest,
  { adapter }: BackendChoice,
  heldBytes: number | undefined,
): string[] {
  const { base, others, rounds, tokens, weights, cacheDtype, batches } = request;
  const random = [base, ...others].filter(({ randomWeights }) => randomWeights);
  return [
    `Weights ${weights}, KV cache ${cacheDtype}. ${rounds} rounds of ${tokens} tokens; caches hold seeded random entries up to the context.`,
    ...(others.length > 0
      ? [
          'Each model takes turns with the base within a round; a speed-up is the median over rounds of the ratio of medians, with the lowest and the highest.',
        ]
      : []),
    ...(random.length > 0
      ? [`Random weights, which cost the same time as trained ones: ${random.map(({ name }) => name).join('; ')}.`]
      : []),
    ...(batches.some((batch) => batch > 1) ? ['Batches above 1: the logits of every step come back to the host.'] : []),
    ...(heldBytes === undefined
      ? []
      : [
          `The backend held at most ${formatBytes(heldBytes)} at once: ${others.length > 0 ? 'two models' : 'the model'} with caches.`,
        ]),
    ...(adapter?.software
      ? [`${adapter.name} computes on the CPU: bytes and dispatches are those of a GPU, times are not.`]
      : []),
  ];
}
