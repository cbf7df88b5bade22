import { type RunControl, throwIfAborted } from '@kvlr/core';
import type { BenchmarkedModel } from '@kvlr/report';
import type { DecoderModel } from '@kvlr/runtime';
import { largestBatch } from '../formulas/largest-batch.ts';
import { measureInRounds } from '../statistics/measure-in-rounds.ts';
import type { ResolvedBenchmarkRequest } from './benchmark-request.ts';
import { heldBytes } from './device-bytes.ts';
import { prepareDecode } from './time-decode.ts';

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
