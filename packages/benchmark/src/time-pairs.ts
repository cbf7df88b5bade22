import { type RunControl, throwIfAborted } from '@kvlr/core';
import type { BenchmarkedModel, SplitTime } from '@kvlr/report';
import type { DecoderModel } from '@kvlr/runtime';
import type { BackendWasm } from '@tensorflow/tfjs-backend-wasm';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, memory } from '@tensorflow/tfjs-core';
import type { ResolvedBenchmarkRequest } from './benchmark-request.ts';
import { largestBatch } from './formulas.ts';
import { measureInRounds } from './statistics.ts';
import { prepareDecode, timePrefill } from './time-decode.ts';

/** Prompts of one batch: [model][round], milliseconds. */
interface PrefillSamples {
  batch: number;
  promptTokens: number;
  times: number[][];
}

/** Steps at one context of one batch. */
interface DecodeSamples {
  batch: number;
  context: number;
  /** [model][round][step], milliseconds. */
  times: number[][][];
  /** By model. */
  counts: { cacheBytes: number; bytesRead: number; dispatches: number; recorded: SplitTime | undefined }[];
}

export interface PairSamples {
  prefills: PrefillSamples[];
  decodes: DecodeSamples[];
  heldBytes?: number;
}

/** Times models that are loaded side by side, each thing in rounds that every model takes part in. */
export async function timePair(
  models: readonly DecoderModel[],
  request: ResolvedBenchmarkRequest,
  control: RunControl,
): Promise<PairSamples> {
  const { batches, contexts, promptTokens, rounds, cacheDtype: dtype, seed } = request;
  const samples: PairSamples = { prefills: [], decodes: [] };
  for (const batch of batches) {
    const settings = { promptTokens, batch, dtype, seed };
    note(control, `Prefill of ${batch} x ${promptTokens} tokens`);
    const prefills = models.map((model) => () => timePrefill(model, settings));
    const times = await measureInRounds(prefills, { rounds, signal: control.signal });
    samples.prefills.push({ batch, promptTokens, times });
    for (const context of contexts) {
      throwIfAborted(control.signal);
      note(control, `Decode of ${batch} x 1 tokens behind ${context}`);
      const { held, ...decode } = await timeDecodes(models, request, { batch, context }, control);
      samples.decodes.push(decode);
      if (held !== undefined) samples.heldBytes = Math.max(samples.heldBytes ?? 0, held);
    }
  }
  return samples;
}

async function timeDecodes(
  models: readonly DecoderModel[],
  { tokens, rounds, cacheDtype: dtype, seed }: ResolvedBenchmarkRequest,
  { batch, context }: { batch: number; context: number },
  { signal }: RunControl,
): Promise<DecodeSamples & { held?: number | undefined }> {
  const subjects: Awaited<ReturnType<typeof prepareDecode>>[] = [];
  try {
    for (const model of models) subjects.push(await prepareDecode(model, { context, tokens, batch, dtype, seed }));
    const measures = subjects.map((subject) => () => subject.measure());
    const times = await measureInRounds(measures, { rounds, signal });
    const counts: DecodeSamples['counts'] = [];
    for (const subject of subjects) {
      const { cacheBytes } = subject;
      counts.push({ ...(await subject.count()), cacheBytes, recorded: await subject.split() });
    }
    const held = heldBytes(subjects.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0));
    return { batch, context, times, counts, held };
  } finally {
    for (const subject of subjects) subject.dispose();
  }
}

function note({ onEvent }: RunControl, message: string): void {
  onEvent?.({ type: 'note', message });
}

/** Steps of models that each decode as many sequences as a memory size holds. */
export interface LargestBatchSamples {
  context: number;
  /** By model. */
  batches: number[];
  /** [model][round][step], milliseconds. */
  times: number[][][];
  heldBytes?: number | undefined;
}

/**
 * Times every model with the most sequences of each context whose caches fit beside its weights. The timed tokens are the last
 * ones of the context, so that the caches end as long as they were counted. Contexts for which a model has no room are left out.
 */
export async function timeLargestBatches(
  loaded: readonly { model: DecoderModel; described: BenchmarkedModel }[],
  { contexts, tokens, rounds, cacheDtype: dtype, memoryBytes = 0, seed }: ResolvedBenchmarkRequest,
  { onEvent, signal }: RunControl,
): Promise<LargestBatchSamples[]> {
  const samples: LargestBatchSamples[] = [];
  for (const context of contexts) {
    throwIfAborted(signal);
    const batches = loaded.map(({ described: { shape, weightBytes } }) =>
      largestBatch(shape, { memoryBytes, weightBytes, dtype, context }),
    );
    if (batches.includes(0)) continue;
    onEvent?.({ type: 'note', message: `Decode of ${batches.join(' and ')} x 1 tokens behind ${context}` });
    const subjects: Awaited<ReturnType<typeof prepareDecode>>[] = [];
    try {
      for (const [place, { model }] of loaded.entries()) {
        const settings = { context: context - tokens - 1, tokens, batch: batches[place]!, dtype, seed };
        subjects.push(await prepareDecode(model, settings));
      }
      const measures = subjects.map((subject) => () => subject.measure());
      const times = await measureInRounds(measures, { rounds, signal });
      const cacheBytes = subjects.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0);
      samples.push({ context, batches, times, heldBytes: heldBytes(cacheBytes) });
    } finally {
      for (const subject of subjects) subject.dispose();
    }
  }
  return samples;
}

/** Bytes of all tensors on the active backend. */
export function tensorBytes(): number {
  return memory().numBytes;
}

/**
 * Memory that the active backend holds: on WebGPU its buffers, those that it keeps for later included, and `cacheBytes`, since caches
 * have buffers of their own; on wasm the heap, which never shrinks. Undefined on cpu, whose tensors lie in the JavaScript heap.
 */
function heldBytes(cacheBytes: number): number | undefined {
  switch (getBackend()) {
    case 'webgpu':
      return (backend() as WebGPUBackend).memory().numBytesAllocatedInGPU + cacheBytes;
    case 'wasm':
      return ((backend() as BackendWasm).wasm as unknown as { HEAPU8: Uint8Array }).HEAPU8.byteLength;
    default:
      return undefined;
  }
}
