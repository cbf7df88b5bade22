import { type RunControl, throwIfAborted } from '@kvlr/core';
import type { DecoderModel } from '@kvlr/runtime';
import { measureInRounds } from '../statistics/measure-in-rounds.ts';
import type { ResolvedBenchmarkRequest } from './benchmark-request.ts';
import { heldBytes } from './device-bytes.ts';
import { prepareDecode } from './time-decode.ts';
import { timePrefill } from './time-prefill.ts';

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
  counts: { cacheBytes: number; bytesRead: number; dispatches: number }[];
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
    for (const subject of subjects) counts.push({ ...(await subject.count()), cacheBytes: subject.cacheBytes });
    const held = heldBytes(subjects.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0));
    return { batch, context, times, counts, held };
  } finally {
    for (const subject of subjects) subject.dispose();
  }
}

function note({ onEvent }: RunControl, message: string): void {
  onEvent?.({ type: 'note', message });
}
