import { cacheBytes } from '@kvlr/core';
import type { BenchmarkedModel, BenchmarkReport } from '@kvlr/report';
import { type BackendChoice, type DecoderModel, loadModel, selectBackend } from '@kvlr/runtime';
import type { BenchmarkRequest, BenchmarkSubject, ResolvedBenchmarkRequest } from './benchmark-request.ts';
import { collectBatches, type LargestBatchPair } from './collect-batches.ts';
import { collectRows, type MeasuredPair } from './collect-rows.ts';
import { describeConditions } from './describe-conditions.ts';
import { tensorBytes } from './device-bytes.ts';
import { resolveRequest } from './resolve-request.ts';
import { timeLargestBatches } from './time-largest-batches.ts';
import { timePair } from './time-pair.ts';

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
