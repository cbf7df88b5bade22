import { type CacheDtype, type DecoderShape, hasBlocks } from '@kvlr/core';
import {
  FEW_TOKENS,
  type RecordedStep,
  recordStep,
  type SampleTokensSettings,
  type StepBeginning,
  StepState,
  sampleAndEmbed,
  submitInOrder,
  takesGreatest,
} from '@kvlr/kernels';
import type { WebGPUBackend } from '@tensorflow/tfjs-backend-webgpu';
import { backend, getBackend, type Tensor, type Tensor2D, tidy, zeros } from '@tensorflow/tfjs-core';
import { fusedKernelsFit } from '../blocks/fused-kernels-fit.ts';
import { recordedCacheStep } from '../cache/cache-step.ts';
import { fusedAttentionFits } from '../cache/cached-attention.ts';
import type { KeyValueCache } from '../cache/key-value-cache.ts';
import type { PackedDecoder } from './packed-decoder.ts';

/** How recorded steps choose tokens. */
export interface RecordedSampling extends Omit<SampleTokensSettings, 'step'> {
  /** int32 [batch, capacity], see `TokenHistory`: read for the repetition penalty, and extended. */
  history?: Tensor2D | undefined;
}

/** Some tokens of every sequence that are on their way. */
interface Lot {
  /** Tokens sampled before, of each sequence. */
  first: number;
  count: number;
  staging: GPUBuffer;
  mapped: Promise<undefined>;
  steps: number;
}

/**
 * Whether all of a decoder's step is fused kernels on the active backend, so that it can be recorded. Blocks are packed when the host
 * finds them full, so a step behind a cache with blocks is not.
 */
export function stepIsRecordable(shape: DecoderShape, cacheDtype: CacheDtype): boolean {
  return (
    getBackend() === 'webgpu' &&
    !hasBlocks(cacheDtype) &&
    fusedKernelsFit(shape) &&
    !shape.feedForward.bias &&
    shape.layers.every((_, layer) => fusedAttentionFits(shape, layer))
  );
}

/**
 * Decodes sequences side by side with nothing of the host in between: a step's dispatches are recorded once, with position, id and
 * sampling on the device, and run as often as tokens are wanted. A recording belongs to the cache's tensors: where `reserve` has
 * made others, the step is recorded anew.
 */
export class RecordedDecoding {
  private readonly gpu = backend() as WebGPUBackend;
  private readonly decoder: PackedDecoder;
  private readonly cache: KeyValueCache;
  private readonly sampling: RecordedSampling;
  private readonly state: StepState;
  private readonly stream: Tensor2D;
  private readonly spare: GPUBuffer[] = [];
  private readonly lots: Lot[] = [];
  private step: RecordedStep | undefined;
  /** A tensor of the cache that the step was recorded with. */
  private recordedWords: Tensor | undefined;
  private sampled = 0;
  private readonly timer: { queries: GPUQuerySet; resolved: GPUBuffer } | undefined;
  /** Milliseconds on the device of a step of the lot that was read last, where the device has timestamps. */
  stepMilliseconds: number | undefined;
  /** Milliseconds of the main thread for a step of the lot that was started last; recording is not among them. */
  hostMilliseconds = 0;

  /**
   * @param lotTokens Tokens of a lot at most.
   * @param timed Whether to time lots on the device.
   */
  constructor(
    decoder: PackedDecoder,
    cache: KeyValueCache,
    sampling: RecordedSampling,
    lotTokens: number,
    timed = false,
  ) {
    this.decoder = decoder;
    this.cache = cache;
    this.sampling = sampling;
    this.state = new StepState(cache.batch, lotTokens);
    this.stream = zeros<Tensor2D['rankType']>([cache.batch, decoder.shape.hiddenSize]);
    for (const each of [this.stream, sampling.history]) if (each) this.gpu.uploadToGPU(each.dataId);
    const { device } = this.gpu;
    if (timed && device.features.has('timestamp-query')) {
      const usage = GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC;
      const queries = device.createQuerySet({ type: 'timestamp', count: 2 });
      this.timer = { queries, resolved: device.createBuffer({ label: 'kvlr timestamps', size: 16, usage }) };
    }
  }

  /**
   * Begins with the logits after each sequence's last token, [batch, vocabSize], which stay the caller's, and starts a first lot of
   * tokens.
   *
   * @param historyLength Tokens in each row of the history.
   */
  begin(logits: Tensor2D, count: number, historyLength = 0): void {
    this.state.begin(this.cache.lengths.map((held): StepBeginning => ({ held, sampled: 0, historyLength })));
    this.sampleFrom(logits);
    this.submit(count, count - 1);
  }

  /** Starts a lot of tokens. The cache counts those that it holds now, with the id -1. */
  start(count: number): void {
    this.submit(count, count);
  }

  /** Dispatches of a step; 0 before the first is recorded. */
  get dispatches(): number {
    return this.step?.dispatches ?? 0;
  }

  /** The step as it is recorded now; undefined before the first. */
  get recordedStep(): RecordedStep | undefined {
    return this.step;
  }

  /** Lots that were started and not read. */
  get underWay(): number {
    return this.lots.length;
  }

  /** The ids of the oldest lot under way: for each of its tokens those of all sequences. */
  async read(): Promise<Int32Array[]> {
    const { first, count, steps, staging, mapped } = this.lots.shift()!;
    try {
      await mapped;
      const bytes = staging.getMappedRange().slice(0);
      if (this.timer && steps > 0) {
        const [begin, end] = new BigUint64Array(bytes, bytes.byteLength - 16) as unknown as [bigint, bigint];
        this.stepMilliseconds = Number(end - begin) / 1e6 / steps;
      }
      const values = new Int32Array(bytes);
      return Array.from({ length: count }, (_, n) => this.state.tokensAt(values, first + n));
    } finally {
      staging.unmap();
      this.spare.push(staging);
    }
  }

  dispose(): void {
    for (const { staging } of this.lots) staging.destroy();
    for (const staging of this.spare) staging.destroy();
    this.step?.dispose();
    this.timer?.queries.destroy();
    this.timer?.resolved.destroy();
    this.state.dispose();
    this.stream.dispose();
  }

  private submit(count: number, steps: number): void {
    const { gpu, cache, state, lots } = this;
    const step = steps > 0 ? this.recordedFor(steps) : undefined;
    const started = performance.now();
    const source = gpu.tensorMap.get(state.words.dataId).resource as GPUBuffer;
    // Timestamps lie behind the state, where 8 bytes may begin.
    const stateBytes = 8 * Math.ceil(source.size / 8);
    const staging = this.spare.pop() ?? this.makeStaging(stateBytes + (this.timer ? 16 : 0));
    submitInOrder(gpu, (encoder) => {
      const { timer } = this;
      const pass = encoder.beginComputePass(
        timer && {
          timestampWrites: { querySet: timer.queries, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 },
        },
      );
      for (let n = 0; n < steps; n++) step!.encode(pass);
      pass.end();
      encoder.copyBufferToBuffer(source, 0, staging, 0, source.size);
      if (!timer) return;
      encoder.resolveQuerySet(timer.queries, 0, 2, timer.resolved, 0);
      encoder.copyBufferToBuffer(timer.resolved, 0, staging, stateBytes, 16);
    });
    const mapped = staging.mapAsync(GPUMapMode.READ);
    // A lot that nobody reads is no error.
    mapped.catch(() => undefined);
    lots.push({ first: this.sampled, count, steps, staging, mapped });
    this.sampled += count;
    cache.advance(Array.from({ length: cache.batch }, () => Array(steps).fill(-1)));
    if (steps > 0) this.hostMilliseconds = (performance.now() - started) / steps;
  }

  private recordedFor(steps: number): RecordedStep {
    const { gpu, decoder, cache, state, stream } = this;
    cache.reserve(steps);
    if (this.step === undefined || this.recordedWords !== cache.wordsOf(0)) {
      this.step?.dispose();
      this.recordedWords = cache.wordsOf(0);
      // Vectors stay with the host until a kernel reads them first, and here none may have run before.
      const { globals, layers, rotations } = decoder.weights;
      const vectors = [globals, ...layers].flatMap(({ tensors }) => Object.values(tensors));
      for (const each of [...vectors, ...rotations]) gpu.uploadToGPU(each.dataId);
      this.step = recordStep(gpu, () =>
        tidy(() => {
          const after = decoder.streamOnDevice(stream, recordedCacheStep(cache, state.words));
          // The greatest logit is all that is looked at, where no other can be chosen.
          const isGreedy = takesGreatest(this.sampling) && cache.batch <= FEW_TOKENS;
          this.sampleFrom(isGreedy ? { greatest: decoder.readOutGreatest(after) } : decoder.readOut(after));
        }),
      );
    }
    return this.step;
  }

  private sampleFrom(logits: Tensor2D | { greatest: Tensor }): void {
    const { history, ...settings } = this.sampling;
    const { embedding } = this.decoder.weights.globals.matrices;
    const { scale } = this.decoder.shape.embedding;
    const tensors = { logits, stream: this.stream, history };
    sampleAndEmbed(tensors, this.state, embedding!, { ...settings, scale });
  }

  private makeStaging(size: number): GPUBuffer {
    const usage = GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST;
    return this.gpu.device.createBuffer({ label: 'kvlr sampled tokens', size, usage });
  }
}
