import { llamaShape } from '@kvlr/core';
import { kernelCounters } from '@kvlr/kernels';
import { type DecoderModel, type KeyValueCache, loadModel } from '@kvlr/runtime';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend } from '@tensorflow/tfjs-core';
import { createRandomModel } from './random-model.ts';
import { percentile } from './statistics.ts';

export interface HostTimeRequest {
  /** Layers of the decoder, whose widths are small: they do not matter to the host. */
  layers: number;
  /** Places of the cache. */
  capacity: number;
  /** Tokens a round. */
  tokens: number;
  /** Tokens that are read together. */
  tokensPerReadback: number;
  rounds: number;
  /** Milliseconds that the main thread has computed so far. */
  threadTime: () => number;
}

const calls = ['createBindGroup', 'createBuffer', 'writeBuffer', 'submit'] as const;

/** What the host does for a token. */
export type HostTimeSample = Record<'milliseconds' | 'dispatches' | (typeof calls)[number], number>;

export interface HostTimes {
  /** Medians over rounds. */
  recorded: HostTimeSample;
  stepByStep: HostTimeSample;
  /** How many times as long step by step takes, round by round. */
  ratios: number[];
}

/**
 * The host's work for a token on WebGPU, with recorded steps and step by step, in turns: time of the main thread and calls of the
 * device. Meant for a device that computes nothing (Dawn's 'backend=null'), where nothing else takes time.
 */
export async function measureHostTime(request: HostTimeRequest): Promise<HostTimes> {
  const { layers, capacity, rounds } = request;
  const shape = llamaShape({
    ...{ numLayers: layers, hiddenSize: 64, intermediateSize: 128, vocabSize: 512, tied: true },
    ...{ numAttentionHeads: 8, numKeyValueHeads: 2, headDim: 8, maxPositionEmbeddings: 2 ** 20 },
    rope: { type: 'default', theta: 100000 },
  });
  const model = await loadModel(createRandomModel(shape), { backend: 'webgpu', weights: 'f32' });
  const cache = await model.createCache({ capacity });
  const counted = countCalls();
  const samples = { recorded: [] as HostTimeSample[], stepByStep: [] as HostTimeSample[] };
  try {
    for (let round = 0; round <= rounds; round++) {
      for (const recorded of round % 2 === 0 ? [true, false] : [false, true]) {
        const sample = await measureText(model, cache, recorded, request, counted.counts);
        // The first round builds the pipelines.
        if (round > 0) samples[recorded ? 'recorded' : 'stepByStep'].push(sample);
      }
    }
  } finally {
    counted.stop();
    cache.dispose();
    model.dispose();
  }
  return {
    recorded: medians(samples.recorded),
    stepByStep: medians(samples.stepByStep),
    ratios: samples.stepByStep.map(({ milliseconds }, round) => milliseconds / samples.recorded[round]!.milliseconds),
  };
}

/** A text whose first two lots, in which the step is recorded, are not counted. */
async function measureText(
  model: DecoderModel,
  cache: KeyValueCache,
  recorded: boolean,
  { tokens, tokensPerReadback, threadTime }: HostTimeRequest,
  counts: Record<string, number>,
): Promise<HostTimeSample> {
  const maxNewTokens = tokens + 4 * tokensPerReadback;
  let started = 0;
  for await (const { index } of model.generate([1], { maxNewTokens, tokensPerReadback, cache, recorded })) {
    if (index === 2 * tokensPerReadback - 1) {
      kernelCounters.reset();
      for (const name of calls) counts[name] = 0;
      started = threadTime();
    }
    if (index !== 2 * tokensPerReadback - 1 + tokens) continue;
    const sample: Record<string, number> = {
      milliseconds: threadTime() - started,
      dispatches: kernelCounters.total().dispatches,
      ...counts,
    };
    for (const name of Object.keys(sample)) sample[name]! /= tokens;
    return sample as HostTimeSample;
  }
  throw new Error(`expected ${maxNewTokens} tokens`);
}

/** Counts calls of the active device and its queue until `stop`. */
function countCalls() {
  const { device, queue } = backend() as WebGPUBackend;
  const counts: Record<string, number> = {};
  for (const name of calls) {
    const target = (name in device ? device : queue) as unknown as Record<string, (...given: unknown[]) => unknown>;
    const original = target[name]!.bind(target);
    target[name] = (...given) => {
      counts[name] = (counts[name] ?? 0) + 1;
      return original(...given);
    };
  }
  return {
    counts,
    stop() {
      for (const name of calls) for (const target of [device, queue]) delete (target as never as typeof counts)[name];
    },
  };
}

function medians(samples: readonly HostTimeSample[]): HostTimeSample {
  const names = Object.keys(samples[0]!) as (keyof HostTimeSample)[];
  const entries = names.map((name) => [
    name,
    percentile(
      samples.map((sample) => sample[name]),
      0.5,
    ),
  ]);
  return Object.fromEntries(entries) as HostTimeSample;
}
