import { KvlrError } from '@kvlr/core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { defineFusedKernel, webgpuAlone } from '../fused-kernel.ts';
import { embeddingParts } from '../projection/embed-tokens.ts';
import { packedByteLength } from '../weights/pack-weights.ts';
import type { PackedMatrix } from '../weights/packed-matrix.ts';
import { keyOfSeed, keyOfStep, type SamplingAttributes, type SamplingInputs, sampleOnHost } from './sampling-host.ts';
import { sampleOnGpu } from './sampling-webgpu.ts';
import type { StepState } from './step-state.ts';
import {
  type StepGreatestInputs,
  type StepSamplingAttributes,
  type StepSamplingInputs,
  sampleStepOnGpu,
  takeGreatestOnGpu,
} from './step-webgpu.ts';

export interface SampleTokensSettings {
  /** Divides the logits; 0 (the default) takes the greatest logit, of equals the lowest id. */
  temperature?: number;
  /** Only the k greatest logits may be sampled; with ties at the k-th all of them. 0 (the default): no limit. */
  topK?: number;
  /** Only the most probable tokens that together reach this share of what topK left, in (0, 1]. Default 1. */
  topP?: number;
  /** Above 1 makes the tokens of the history less likely. Default 1. */
  repetitionPenalty?: number;
  /** Same seed and step, same random numbers, on every backend. Default 0. */
  seed?: number;
  /** Counts the tokens of a generation. Default 0. */
  step?: number;
}

/** The tokens so far, on the device: read for the repetition penalty, and extended by the sampled token. */
export interface TokenHistory {
  /** int32 [batch, capacity]. Negative entries are padding. */
  ids: Tensor;
  /** Entries of every row in use. The new token is written behind them, in place. */
  length: number;
}

const run = defineFusedKernel<SamplingInputs, SamplingAttributes>({
  name: 'KvlrSampleTokens',
  bytesRead: ({ logits }) => logits.shape[0]! * logits.shape[1]! * 4,
  webgpu: sampleOnGpu,
  wasm: sampleOnHost,
  cpu: sampleOnHost,
});

/**
 * Samples one token per row from logits float32 [batch, vocabulary]: int32 [batch], on the device. One dispatch.
 *
 * A sample of a softmax is the greatest of logit / temperature + g, with independent Gumbel numbers g (Gumbel 1954; Maddison
 * et al. 2014). g comes from a hash of (seed, step, row, token) instead of a stream, so that every token's can be computed
 * alone; rounding aside, all backends sample the same token. topK and topP (Holtzman et al. 2020) become a least logit, found
 * byte by byte with histograms of counts and of probabilities in units of 2^-30.
 *
 * Throws 'tensor-shape' for other tensors or a full history, 'invalid-argument' for settings out of range.
 */
export function sampleTokens(logits: Tensor, settings: SampleTokensSettings = {}, history?: TokenHistory): Tensor {
  checkSettings(settings);
  const { temperature = 0, topK = 0, topP = 1, repetitionPenalty = 1, seed = 0, step = 0 } = settings;
  if (logits.rank !== 2 || logits.dtype !== 'float32') {
    throw new KvlrError('tensor-shape', {
      message: `expected float32 [batch, vocabulary], got ${logits.dtype} [${logits.shape}]`,
      where: { argument: 'logits' },
      data: { dtype: logits.dtype, received: logits.shape },
    });
  }
  if (history) requireRoom(history, logits.shape[0]!);
  const length = history?.length ?? 0;
  const attributes = { temperature, topK, topP, repetitionPenalty, stepKey: keyOfStep(seed, step), length };
  return run({ logits, history: history?.ids }, attributes)[0]!;
}

function checkSettings(settings: SampleTokensSettings): void {
  const { temperature = 0, topK = 0, topP = 1, repetitionPenalty = 1 } = settings;
  if (!(temperature >= 0 && topK >= 0 && Number.isInteger(topK) && topP > 0 && topP <= 1 && repetitionPenalty > 0)) {
    throw new KvlrError('invalid-argument', {
      message: `expected temperature >= 0, a whole topK >= 0, topP in (0, 1] and repetitionPenalty > 0, got ${temperature}, ${topK}, ${topP} and ${repetitionPenalty}`,
      data: { temperature, topK, topP, repetitionPenalty },
    });
  }
}

function requireRoom({ ids, length }: TokenHistory, batch: number): void {
  if (ids.dtype === 'int32' && ids.rank === 2 && ids.shape[0] === batch && length >= 0 && length < ids.shape[1]!)
    return;
  throw new KvlrError('tensor-shape', {
    message: `expected int32 [${batch}, more than ${length}], got ${ids.dtype} [${ids.shape}]`,
    where: { argument: 'history' },
    data: { length, received: ids.shape },
  });
}

const runStep = defineFusedKernel<StepSamplingInputs, StepSamplingAttributes>({
  name: 'KvlrSampleAndEmbed',
  bytesRead: ({ logits }, { format, columns }) =>
    logits.shape[0]! * (logits.shape[1]! * 4 + packedByteLength(format, 1, columns)),
  webgpu: sampleStepOnGpu,
  wasm: webgpuAlone(': elsewhere the host counts steps'),
  cpu: webgpuAlone(': elsewhere the host counts steps'),
});

const runGreatest = defineFusedKernel<
  StepGreatestInputs,
  Omit<StepSamplingAttributes, keyof SamplingAttributes | 'seedKey'>
>({
  name: 'KvlrTakeGreatestAndEmbed',
  bytesRead: ({ greatest }, { format, columns }) =>
    greatest.shape[0]! * (greatest.shape[1]! * 8 + packedByteLength(format, 1, columns)),
  webgpu: takeGreatestOnGpu,
  wasm: webgpuAlone(': elsewhere the host counts steps'),
  cpu: webgpuAlone(': elsewhere the host counts steps'),
});

/** What `sampleAndEmbed` reads and writes besides the embedding: logits, or the greatest of them alone. */
export interface StepTensors {
  /** float32 [batch, vocabulary], or where a token is just the greatest what `projectGreatest` gives. */
  logits: Tensor | { greatest: Tensor };
  /** float32 [batch, columns of the embedding]: the sampled tokens' rows of it are written to it. */
  stream: Tensor;
  /** int32 [batch, capacity], as `TokenHistory.ids`; how long its rows are the state knows. */
  history?: Tensor | undefined;
}

/** Whether these settings take the greatest logit as it is, so that the others need not be known. */
export function takesGreatest({ temperature = 0, repetitionPenalty = 1 }: SampleTokensSettings): boolean {
  return temperature === 0 && repetitionPenalty === 1;
}

/**
 * The end of a decoding step on WebGPU, in one dispatch where the embedding is one shard: samples a token per row as `sampleTokens` does
 * (`step` is the state's count), notes it in the state and the history, counts the token before it as held, and embeds it, times
 * `scale`, as the next step's stream. Nothing comes from the host. Throws 'unsupported-feature' on other backends, 'invalid-argument'
 * where settings want other logits than the greatest and those alone are given.
 */
export function sampleAndEmbed(
  { logits, stream, history }: StepTensors,
  state: StepState,
  embedding: PackedMatrix,
  settings: Omit<SampleTokensSettings, 'step'> & { scale?: number } = {},
): void {
  checkSettings(settings);
  const { temperature = 0, topK = 0, topP = 1, repetitionPenalty = 1, seed = 0, scale = 1 } = settings;
  const { words, scales, ...table } = embeddingParts(embedding);
  const end = { ...table, scale, ringTokens: state.ringTokens };
  if ('greatest' in logits) {
    if (!takesGreatest(settings) || history) {
      throw new KvlrError('invalid-argument', {
        message: 'expected a temperature of 0, and no penalty or history, where the greatest logits alone are given.',
        where: { argument: 'logits' },
      });
    }
    runGreatest({ greatest: logits.greatest, state: state.words, stream, words, scales }, end);
    return;
  }
  runStep(
    { logits, history, state: state.words, stream, words, scales },
    { temperature, topK, topP, repetitionPenalty, seedKey: keyOfSeed(seed), ...end },
  );
}
