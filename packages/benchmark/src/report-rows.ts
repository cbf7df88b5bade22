import type { BatchRow, BenchmarkedModel, BenchmarkReport, DecodeRow, PrefillRow } from '@kvlr/report';
import type { ResolvedBenchmarkRequest } from './benchmark-request.ts';
import { largestBatch } from './formulas.ts';
import { pairRounds, summariseTimes } from './statistics.ts';
import type { LargestBatchSamples, PairSamples } from './time-pairs.ts';

/** What was measured of models that took turns, by name; the base first. */
export interface MeasuredPair {
  names: readonly string[];
  samples: PairSamples;
}

/**
 * Rows by batch, then context, then model. The base's times of all pairs are put together; the speed-up of another model is from its
 * own pair.
 */
export function collectRows(
  models: readonly BenchmarkedModel[],
  pairs: readonly MeasuredPair[],
  onGpu: boolean,
): Pick<BenchmarkReport, 'prefills' | 'decodes'> {
  const { samples } = pairs[0]!;
  const prefills = samples.prefills.flatMap((_, index) => models.map((model) => prefillRow(model, index, pairs)));
  const decodes = samples.decodes.flatMap((_, index) => models.map((model) => decodeRow(model, index, pairs, onGpu)));
  return { prefills, decodes };
}

/** The pairs that a model was in, with its place among their names. */
function appearances(model: BenchmarkedModel, pairs: readonly MeasuredPair[]) {
  return pairs.flatMap(({ names, samples }) =>
    names.includes(model.name) ? [{ samples, place: names.indexOf(model.name) }] : [],
  );
}

function prefillRow(model: BenchmarkedModel, index: number, pairs: readonly MeasuredPair[]): PrefillRow {
  const measured = appearances(model, pairs).map(({ samples, place }) => ({ ...samples.prefills[index]!, place }));
  const { batch, promptTokens, times, place } = measured[0]!;
  const firstToken = summariseTimes(measured.flatMap((one) => one.times[one.place]!));
  const inRounds = (each: readonly number[]) => each.map((time) => [time]);
  return {
    model: model.name,
    batch,
    promptTokens,
    firstToken,
    tokensPerSecond: (1000 * batch * promptTokens) / firstToken.p50,
    ...(place > 0 && { speedup: pairRounds(inRounds(times[0]!), inRounds(times[place]!)) }),
  };
}

function decodeRow(model: BenchmarkedModel, index: number, pairs: readonly MeasuredPair[], onGpu: boolean): DecodeRow {
  const measured = appearances(model, pairs).map(({ samples, place }) => ({ ...samples.decodes[index]!, place }));
  const { batch, context, times, counts, place } = measured[0]!;
  const step = summariseTimes(measured.flatMap((one) => one.times[one.place]!.flat()));
  const { cacheBytes, bytesRead, dispatches, recorded } = counts[place]!;
  return {
    model: model.name,
    batch,
    context,
    step,
    tokensPerSecond: (1000 * batch) / step.p50,
    cacheBytes,
    deviceBytes: model.weightBytes + cacheBytes,
    bytesReadPerStep: bytesRead,
    ...(onGpu && { dispatchesPerStep: dispatches }),
    ...(recorded && { recorded }),
    ...(place > 0 && { speedup: pairRounds(times[0]!, times[place]!) }),
  };
}

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
