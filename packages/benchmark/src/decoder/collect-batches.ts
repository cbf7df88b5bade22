import type { BatchRow, BenchmarkedModel, BenchmarkReport } from '@kvlr/report';
import { largestBatch } from '../formulas/largest-batch.ts';
import { pairRounds } from '../statistics/pair-rounds.ts';
import { summariseTimes } from '../statistics/summarise-times.ts';
import type { ResolvedBenchmarkRequest } from './benchmark-request.ts';
import type { LargestBatchSamples } from './time-largest-batches.ts';

/** What was measured at the largest batches of models that took turns, by name; the base first. */
export interface LargestBatchPair {
  names: readonly string[];
  samples: readonly LargestBatchSamples[];
}

/** The largest batch of every model at every context, with its speed where it was timed; nothing where no memory was given. */
export function collectBatches(
  models: readonly BenchmarkedModel[],
  pairs: readonly LargestBatchPair[],
  { memoryBytes, contexts, cacheDtype: dtype }: ResolvedBenchmarkRequest,
): Pick<BenchmarkReport, 'largestBatches'> {
  if (memoryBytes === undefined) return {};
  const rows = models.flatMap(({ name, shape, weightBytes }) =>
    contexts.map((context) => {
      const batch = largestBatch(shape, { memoryBytes, weightBytes, dtype, context });
      return { model: name, context, batch, ...speedOf(name, context, batch, pairs) };
    }),
  );
  return { largestBatches: { memoryBytes, rows } };
}

function speedOf(
  name: string,
  context: number,
  batch: number,
  pairs: readonly LargestBatchPair[],
): Pick<BatchRow, 'step' | 'tokensPerSecond' | 'speedup'> {
  const measured = pairs.flatMap(({ names, samples }) => {
    const place = names.indexOf(name);
    return samples.filter((sample) => place >= 0 && sample.context === context).map((sample) => ({ ...sample, place }));
  });
  const [first] = measured;
  if (first === undefined) return {};
  const step = summariseTimes(measured.flatMap(({ times, place }) => times[place]!.flat()));
  // By token: the batches differ.
  const perToken = (place: number) =>
    first.times[place]!.map((round) => round.map((time) => time / first.batches[place]!));
  return {
    step,
    tokensPerSecond: (1000 * batch) / step.p50,
    ...(first.place > 0 && { speedup: pairRounds(perToken(0), perToken(first.place)) }),
  };
}
