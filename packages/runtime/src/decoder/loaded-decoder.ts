import {
  type DecoderShape,
  KvlrError,
  type LayerActivations,
  type LogitSource,
  type TapName,
  type TensorSink,
  type WindowReader,
} from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { getBackend, setBackend } from '@tensorflow/tfjs-core';
import type { DeviceGuard } from '../backends/device-guard.ts';
import type { BackendChoice } from '../backends/select-backend.ts';
import { download, type WindowRunner } from '../blocks/stock-decoder.ts';
import type { CacheSettings } from '../cache/cache-settings.ts';
import { requireCodedFits } from '../cache/cached-attention.ts';
import { KeyValueCache } from '../cache/key-value-cache.ts';
import { loadCache, saveCache } from '../cache/saved-cache.ts';
import { type GenerationModel, generateTokens, yieldToHost } from '../generation/generate-tokens.ts';
import {
  checkGenerationSettings,
  checkPromptLength,
  type GeneratedToken,
  type GenerationSettings,
} from '../generation/generation-settings.ts';
import type { PackedDecoder } from '../packed/packed-decoder.ts';
import { savePacked } from '../packed/packed-file.ts';
import { readAgain } from '../packed/read-again.ts';
import { RecordedDecoding, type RecordedSampling, stepIsRecordable } from '../packed/recorded-decoding.ts';
import { checkCache, checkCacheSize, checkPositions, checkTokens } from './decoder-checks.ts';
import type { DecoderModel, NewTokens } from './decoder-model.ts';
import { largestCacheBuffer, requireBindable } from './memory.ts';

/** Tokens that a GPU chooses before their ids are read back. */
const TOKENS_PER_READBACK = 4;

export interface LoadedDecoderParts {
  shape: DecoderShape;
  id: string;
  backend: BackendChoice;
  guard: DeviceGuard;
  weightFormat: WeightFormat;
  cacheSettings: CacheSettings;
  /** Runs whole windows. */
  windows: WindowRunner;
  /** The same through a coded cache; absent where weights are packed. */
  codedLogits?: ((tokenIds: Int32Array, reader: WindowReader) => Promise<Float32Array>) | undefined;
  /** See `LogitSource`; absent where the host computes. */
  losses?: ((tokenIds: Int32Array, targets: Int32Array) => Promise<Float32Array>) | undefined;
  /** Runs tokens behind a cache; may be made when first asked for. */
  fused: () => Promise<PackedDecoder>;
  dispose: () => void;
}

/** A decoder whose weights lie on a tfjs backend. Made by `loadModel`. */
export class LoadedDecoder implements DecoderModel {
  readonly shape: DecoderShape;
  readonly vocabSize: number;
  readonly id: string;
  readonly backend: BackendChoice;
  readonly weightFormat: WeightFormat;
  readonly losses?: (tokenIds: Int32Array, targets: Int32Array) => Promise<Float32Array>;
  private parts: LoadedDecoderParts | undefined;

  constructor(parts: LoadedDecoderParts) {
    this.shape = parts.shape;
    this.vocabSize = parts.shape.vocabSize;
    this.id = parts.id;
    this.backend = parts.backend;
    this.weightFormat = parts.weightFormat;
    this.parts = parts;
    const { losses } = parts;
    if (losses === undefined) return;
    this.losses = async (tokenIds, targets) => {
      checkPositions(this.shape, tokenIds?.length);
      checkTokens(this.shape, targets);
      const { guard } = await this.begin(tokenIds);
      return guard.run(() => losses(tokenIds, targets));
    };
  }

  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    checkPositions(this.shape, tokenIds?.length);
    const { windows, guard } = await this.begin(tokenIds);
    return guard.run(() => windows.logits(tokenIds));
  }

  readThrough(reader: WindowReader): LogitSource {
    const { codedLogits } = this.open();
    if (codedLogits === undefined) {
      throw new KvlrError('unsupported-feature', {
        message: `expected float32 weights for windows through a coded cache, got ${this.weightFormat} weights.`,
        hint: 'Load the model without packing its weights.',
        data: { weights: this.weightFormat },
      });
    }
    return {
      vocabSize: this.vocabSize,
      logits: async (tokenIds) => {
        checkPositions(this.shape, tokenIds?.length);
        const { guard } = await this.begin(tokenIds);
        return guard.run(() => codedLogits(tokenIds, reader));
      },
    };
  }

  async forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => void | Promise<void>,
  ): Promise<void> {
    const { windows, guard } = await this.begin(tokenIds);
    checkPositions(this.shape, tokenIds.length);
    guard.requireDevice();
    await windows.forEachLayer(tokenIds, taps, async (activations) => {
      await visit(activations);
      await this.activate();
    });
  }

  async createCache(settings: number | CacheSettings = {}): Promise<KeyValueCache> {
    const { cacheSettings, guard } = this.open();
    await this.activate();
    const wanted = { ...cacheSettings, ...(typeof settings === 'number' ? { capacity: settings } : settings) };
    checkCacheSize(this.shape, this.backend.backend, wanted);
    if (wanted.coded) {
      const { batch, statistics } = wanted;
      requireCodedFits(this.shape, wanted.coded, { backend: this.backend.backend, batch, statistics });
    }
    return guard.run(async () => {
      if (this.backend.backend === 'webgpu') requireBindable(largestCacheBuffer(this.shape, wanted));
      return new KeyValueCache(this.shape, wanted);
    });
  }

  async extend(cache: KeyValueCache, tokenIds: NewTokens): Promise<Float32Array> {
    checkCache(cache);
    const lists: readonly ArrayLike<number>[] = isBatch(tokenIds) ? tokenIds : [tokenIds];
    if (lists.length !== cache.batch) {
      throw new KvlrError('invalid-argument', {
        message: `expected new tokens for ${cache.batch} sequences, got ${lists.length} lists.`,
        where: { argument: 'tokenIds' },
        data: { batch: cache.batch, lists: lists.length },
      });
    }
    const { guard } = this.open();
    for (const [sequence, ids] of lists.entries()) {
      // Behind a window the text may run on.
      if (cache.window.window === 0) checkPositions(this.shape, cache.lengths[sequence]! + (ids?.length ?? 0));
      checkTokens(this.shape, ids);
    }
    const release = cache.hold();
    try {
      const fused = await this.fused();
      const added = lists.map((ids) => Array.from(ids));
      return await guard.run(async () => {
        const logits = await download(await fused.extend(cache, added, () => this.activate()));
        // A single token is generated, not read.
        if (added.some((ids) => ids.length > 1)) await readAgain(fused, cache, () => this.activate());
        return logits;
      });
    } finally {
      release();
    }
  }

  async logitsBehind(cache: KeyValueCache, tokenIds: ArrayLike<number>): Promise<Float32Array> {
    checkCache(cache);
    const { guard } = this.open();
    if (cache.batch !== 1) {
      throw new KvlrError('invalid-argument', {
        message: `expected a cache of one sequence, got one of ${cache.batch}.`,
        where: { argument: 'cache' },
        data: { batch: cache.batch },
      });
    }
    if (cache.window.window === 0) checkPositions(this.shape, cache.length + (tokenIds?.length ?? 0));
    checkTokens(this.shape, tokenIds);
    const release = cache.hold();
    try {
      const fused = await this.fused();
      return await guard.run(async () =>
        download(await fused.logitsBehind(cache, Array.from(tokenIds), () => this.activate())),
      );
    } finally {
      release();
    }
  }

  generate(promptIds: ArrayLike<number>, settings: GenerationSettings): AsyncIterableIterator<GeneratedToken> {
    return this.generateFrom(promptIds, settings);
  }

  async recordSteps(
    cache: KeyValueCache,
    sampling: RecordedSampling,
    lotTokens: number,
  ): Promise<RecordedDecoding | undefined> {
    checkCache(cache);
    const fused = await this.fused();
    return stepIsRecordable(this.shape, cache.dtype) && cache.coded === undefined
      ? new RecordedDecoding(fused, cache, sampling, lotTokens, true)
      : undefined;
  }

  async saveCache(cache: KeyValueCache): Promise<Uint8Array> {
    this.open();
    checkCache(cache);
    await this.activate();
    return saveCache(cache, this.id);
  }

  async loadCache(bytes: Uint8Array): Promise<KeyValueCache> {
    this.open();
    if (!(bytes instanceof Uint8Array)) {
      throw new KvlrError('invalid-argument', {
        message: `expected the bytes of saveCache, got ${bytes === null ? 'null' : typeof bytes}.`,
        where: { argument: 'bytes' },
      });
    }
    await this.activate();
    return loadCache(bytes, this.shape, this.id, (settings) =>
      checkCacheSize(this.shape, this.backend.backend, settings),
    );
  }

  async savePacked(sink: TensorSink): Promise<void> {
    const { weights } = await this.fused();
    await savePacked(weights, this.shape, this.id, sink);
  }

  dispose(): void {
    this.parts?.dispose();
    this.parts = undefined;
  }

  private async *generateFrom(
    promptIds: ArrayLike<number>,
    settings: GenerationSettings,
  ): AsyncGenerator<GeneratedToken, void, undefined> {
    checkGenerationSettings(settings);
    if (settings.cache !== undefined) checkCache(settings.cache);
    const { cacheSettings, guard } = this.open();
    checkPromptLength(this.shape, promptIds?.length, (settings.cache?.settings ?? cacheSettings).window ?? 0);
    await this.begin(promptIds);
    const fused = await this.fused();
    const { dtype = 'f32', coded } = settings.cache?.settings ?? cacheSettings;
    const activate = () => this.activate();
    const model: GenerationModel = {
      shape: this.shape,
      cacheSettings,
      tokensPerReadback: this.backend.backend === 'webgpu' ? TOKENS_PER_READBACK : 1,
      createCache: (wanted) => this.createCache(wanted),
      guarded: (work) => guard.run(work),
      async prefill(cache, ids) {
        const logits = await fused.extend(cache, [ids], activate);
        if (ids.length > 1) await readAgain(fused, cache, activate);
        return logits;
      },
      step: (cache, ids) => fused.stepOnDevice(cache, ids),
      ...(coded === undefined && stepIsRecordable(this.shape, dtype) && { record: recordSteps(fused) }),
      activate: () => this.activate(),
    };
    yield* generateTokens(model, promptIds, settings);
  }

  /** Checks the call and activates the model's backend. */
  private async begin(tokenIds: ArrayLike<number>): Promise<LoadedDecoderParts> {
    const parts = this.open();
    checkTokens(this.shape, tokenIds);
    await this.activate();
    return parts;
  }

  private open(): LoadedDecoderParts {
    if (this.parts === undefined) {
      throw new KvlrError('invalid-argument', { message: 'expected a loaded model, got a disposed one.' });
    }
    return this.parts;
  }

  private async fused(): Promise<PackedDecoder> {
    await this.activate();
    const { guard, fused: make } = this.open();
    const fused = await guard.run(make);
    await this.activate();
    return fused;
  }

  /** Lets the host breathe, then makes this model's backend the active one, which another model may have changed. */
  private async activate(): Promise<void> {
    await yieldToHost();
    if (getBackend() !== this.backend.backend) await setBackend(this.backend.backend);
  }
}

function recordSteps(fused: PackedDecoder): GenerationModel['record'] {
  return (cache, history, { temperature, topK, topP, repetitionPenalty, seed }, tokensPerReadback) => {
    const settings = { temperature, topK, topP, repetitionPenalty, seed };
    return new RecordedDecoding(fused, cache, { ...settings, history }, tokensPerReadback);
  };
}

function isBatch(tokenIds: NewTokens): tokenIds is readonly ArrayLike<number>[] {
  return tokenIds?.length > 0 && typeof tokenIds[0] !== 'number';
}
