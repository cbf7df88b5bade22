import { KvlrError } from '@kvlr/core';
import type { RecordedStep } from '@kvlr/kernels';
import type { DecoderModel, KeyValueCache, RecordedDecoding } from '@kvlr/runtime';
import { type Tensor, zeros } from '@tensorflow/tfjs-core';
import { type DeviceTimes, perCall, timePass, warmUp } from './device-time.ts';
import { fillOnDevice } from './fill-on-device.ts';
import { percentile } from './statistics.ts';

export interface RecordedDecodeSettings {
  context: number;
  batch: number;
  dtype: KeyValueCache['dtype'];
  /** Tokens of a lot, and lots that are timed. */
  lotTokens: number;
  lots: number;
  /** Rounds in which the dispatches of each kind, all layers' one behind another, are timed as well; 0 by default. */
  kernelRounds?: number;
}

/** Milliseconds of a token of every sequence, medians over lots. */
interface LotTimes extends DeviceTimes {
  /** Of the main thread. */
  host: number;
}

export interface RecordedDecodeTimes extends LotTimes {
  dispatchesPerStep: number;
  cacheBytes: number;
  /** A dispatch of each kind, with the number of them in a step; where `kernelRounds` asks for them. */
  kernels?: KernelTimes[];
}

interface KernelTimes extends DeviceTimes {
  kind: string;
  dispatches: number;
}

/**
 * Recorded steps of a model on WebGPU behind caches that hold pseudorandom words up to the context, without any prompt. Throws
 * 'unsupported-feature' where they cannot be recorded.
 */
export async function timeRecordedDecode(
  model: DecoderModel,
  { context, batch, dtype, lotTokens, lots, kernelRounds = 0 }: RecordedDecodeSettings,
): Promise<RecordedDecodeTimes> {
  const cache = await model.createCache({ dtype, batch, capacity: context + (lots + 3) * lotTokens });
  const decoding = await model.recordSteps(cache, {}, lotTokens);
  if (decoding === undefined) {
    cache.dispose();
    throw new KvlrError('unsupported-feature', { message: 'expected a model whose steps can be recorded.' });
  }
  try {
    cache.formats.forEach((_, layer) => void fillOnDevice(cache.wordsOf(layer)));
    cache.advance(Array.from({ length: batch }, () => Array(context).fill(0)));
    const logits = zeros<Tensor['rankType']>([batch, model.vocabSize]) as Parameters<typeof decoding.begin>[0];
    decoding.begin(logits, lotTokens);
    logits.dispose();
    decoding.start(lotTokens);
    await decoding.read();
    await decoding.read();
    await warmUp();
    return {
      ...(await timeLots(decoding, lotTokens, lots)),
      dispatchesPerStep: decoding.dispatches,
      cacheBytes: cache.usedBytes,
      ...(kernelRounds > 0 && { kernels: await timeKernels(decoding.recordedStep!, kernelRounds) }),
    };
  } finally {
    decoding.dispose();
    cache.dispose();
  }
}

/** Dispatches of one kind belong to different layers, so that none finds what it reads in the device's cache memory. */
async function timeKernels(step: RecordedStep, rounds: number): Promise<KernelTimes[]> {
  const times: KernelTimes[] = [];
  for (const [kind, dispatches] of step.kinds) {
    const all = await timePass((pass) => step.encode(pass, kind), rounds);
    times.push({ kind, dispatches, ...perCall(all, dispatches) });
  }
  return times;
}

/** Lots of tokens one after another, each begun before the one before it is read; none is under way before. */
export async function timeLots(decoding: RecordedDecoding, lotTokens: number, lots: number): Promise<LotTimes> {
  const [device, wall, host]: [number[], number[], number[]] = [[], [], []];
  const start = () => {
    decoding.start(lotTokens);
    host.push(decoding.hostMilliseconds);
  };
  let started = performance.now();
  start();
  for (let lot = 0; lot < lots; lot++) {
    if (lot + 1 < lots) start();
    await decoding.read();
    if (decoding.stepMilliseconds !== undefined) device.push(decoding.stepMilliseconds);
    wall.push((performance.now() - started) / lotTokens);
    started = performance.now();
  }
  const median = (times: number[]) => percentile(times, 0.5);
  return { device: device.length > 0 ? median(device) : undefined, wall: median(wall), host: median(host) };
}
