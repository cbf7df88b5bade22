import type { BenchmarkedModel, BenchmarkReport, DecodeRow, PrefillRow } from '@kvlr/report';
import { pairRounds } from '../statistics/pair-rounds.ts';
import { summariseTimes } from '../statistics/summarise-times.ts';
import type { PairSamples } from './time-pair.ts';

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
  const { cacheBytes, bytesRead, dispatches } = counts[place]!;
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
    ...(place > 0 && { speedup: pairRounds(times[0]!, times[place]!) }),
  };
}
