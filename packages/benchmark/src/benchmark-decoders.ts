import { cacheBytes } from '@kvlr/core';
import { type BenchmarkedModel, type BenchmarkReport, formatBytes } from '@kvlr/report';
import { type BackendChoice, type DecoderModel, loadModel, selectBackend } from '@kvlr/runtime';
import {
  type BenchmarkRequest,
  type BenchmarkSubject,
  type ResolvedBenchmarkRequest,
  resolveRequest,
} from './benchmark-request.ts';
import { collectBatches, collectRows, type LargestBatchPair, type MeasuredPair } from './report-rows.ts';
import { tensorBytes, timeLargestBatches, timePair } from './time-pairs.ts';

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

/** What a reader has to know to take the figures for what they are. */
function describeConditions(
  request: ResolvedBenchmarkRequest,
  { adapter, backend }: BackendChoice,
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
    ...(backend === 'webgpu'
      ? ['Host and device: a recorded step, its share of the main thread and (by timestamps) of the device.']
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
