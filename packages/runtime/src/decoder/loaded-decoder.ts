import { type DecoderShape, KvlrError, type LayerActivations, type TapName, type TensorSink } from '@kvlr/core';
import type { WeightFormat } from '@kvlr/kernels';
import { getBackend, setBackend } from '@tensorflow/tfjs-core';
import type { BackendChoice } from '../backends/backend-choice.ts';
import type { DeviceGuard } from '../backends/device-guard.ts';
import type { CacheSettings } from '../cache/cache-settings.ts';
import { KeyValueCache } from '../cache/key-value-cache.ts';
import { loadCache } from '../cache/load-cache.ts';
import { saveCache } from '../cache/save-cache.ts';
import type { FusedDecoder } from '../fused/fused-decoder.ts';
import { savePacked } from '../fused/save-packed.ts';
import { type GenerationModel, generateTokens } from '../generation/generate-tokens.ts';
import type { GeneratedToken, GenerationSettings } from '../generation/generation-settings.ts';
import { yieldToHost } from '../generation/yield-to-host.ts';
import { largestCacheBuffer } from '../memory/estimate-memory.ts';
import { requireBindable } from '../memory/require-memory.ts';
import type { DecoderModel, NewTokens } from './decoder-model.ts';
import { download } from './download.ts';
import type { WindowRunner } from './window-runner.ts';

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
  /** Runs tokens behind a cache; may be made when first asked for. */
  fused: () => Promise<FusedDecoder>;
  dispose: () => void;
}

/** A decoder whose weights lie on a tfjs backend. Made by `loadModel`. */
export class LoadedDecoder implements DecoderModel {
  readonly shape: DecoderShape;
  readonly vocabSize: number;
  readonly id: string;
  readonly backend: BackendChoice;
  readonly weightFormat: WeightFormat;
  private parts: LoadedDecoderParts | undefined;

  constructor(parts: LoadedDecoderParts) {
    this.shape = parts.shape;
    this.vocabSize = parts.shape.vocabSize;
    this.id = parts.id;
    this.backend = parts.backend;
    this.weightFormat = parts.weightFormat;
    this.parts = parts;
  }

  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    const { windows, guard } = await this.begin('logits', tokenIds);
    return guard.run('logits', () => windows.logits(tokenIds));
  }

  async forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => void | Promise<void>,
  ): Promise<void> {
    const { windows, guard } = await this.begin('forEachLayer', tokenIds);
    guard.requireDevice('forEachLayer');
    await windows.forEachLayer(tokenIds, taps, async (activations) => {
      await visit(activations);
      await this.activate();
    });
  }

  async createCache(settings: number | CacheSettings = {}): Promise<KeyValueCache> {
    const { cacheSettings, guard } = this.open('createCache');
    await this.activate();
    const wanted = { ...cacheSettings, ...(typeof settings === 'number' ? { capacity: settings } : settings) };
    return guard.run('createCache', async () => {
      if (this.backend.backend === 'webgpu') requireBindable(largestCacheBuffer(this.shape, wanted));
      return new KeyValueCache(this.shape, wanted);
    });
  }

  async extend(cache: KeyValueCache, tokenIds: NewTokens): Promise<Float32Array> {
    const lists = isBatch(tokenIds) ? tokenIds : [tokenIds];
    if (lists.length !== cache.batch) {
      throw new KvlrError('invalid-argument', {
        message: `extend: expected new tokens for ${cache.batch} sequences, got ${lists.length} lists.`,
        data: { batch: cache.batch, lists: lists.length },
      });
    }
    const { guard } = this.open('extend');
    for (const ids of lists) this.checkTokens('extend', ids);
    const fused = await this.fused();
    const added = lists.map((ids) => Array.from(ids));
    return guard.run('extend', async () => download(await fused.extend(cache, added, () => this.activate())));
  }

  generate(promptIds: ArrayLike<number>, settings: GenerationSettings): AsyncIterableIterator<GeneratedToken> {
    return this.generateFrom(promptIds, settings);
  }

  async saveCache(cache: KeyValueCache): Promise<Uint8Array> {
    this.open('saveCache');
    await this.activate();
    return saveCache(cache, this.id);
  }

  async loadCache(bytes: Uint8Array): Promise<KeyValueCache> {
    this.open('loadCache');
    await this.activate();
    return loadCache(bytes, this.shape, this.id);
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
    const { cacheSettings, guard } = await this.begin('generate', promptIds);
    const fused = await this.fused();
    const model: GenerationModel = {
      shape: this.shape,
      cacheSettings,
      tokensPerReadback: this.backend.backend === 'webgpu' ? TOKENS_PER_READBACK : 1,
      createCache: (wanted) => this.createCache(wanted),
      guarded: (work) => guard.run('generate', work),
      prefill: (cache, ids) => fused.extend(cache, [ids], () => this.activate()),
      step: (cache, ids) => fused.stepOnDevice(cache, ids),
      activate: () => this.activate(),
    };
    yield* generateTokens(model, promptIds, settings);
  }

  /** Checks the call and activates the model's backend. */
  private async begin(caller: string, tokenIds: ArrayLike<number>): Promise<LoadedDecoderParts> {
    const parts = this.open(caller);
    this.checkTokens(caller, tokenIds);
    await this.activate();
    return parts;
  }

  private open(caller: string): LoadedDecoderParts {
    if (this.parts === undefined) {
      throw new KvlrError('invalid-argument', { message: `${caller}: expected a loaded model, got a disposed one.` });
    }
    return this.parts;
  }

  private checkTokens(caller: string, tokenIds: ArrayLike<number>): void {
    const foreign = Array.from(tokenIds).find((id) => !Number.isInteger(id) || id < 0 || id >= this.vocabSize);
    if (tokenIds.length > 0 && foreign === undefined) return;
    throw new KvlrError('invalid-argument', {
      message: `${caller}: expected at least one token id, each from 0 to ${this.vocabSize - 1}, got ${foreign ?? 'none'}.`,
      data: { vocabSize: this.vocabSize, tokenId: foreign },
    });
  }

  private async fused(): Promise<FusedDecoder> {
    await this.activate();
    const { guard, fused: make } = this.open('generate');
    const fused = await guard.run('generate', make);
    await this.activate();
    return fused;
  }

  /** Lets the host breathe, then makes this model's backend the active one, which another model may have changed. */
  private async activate(): Promise<void> {
    await yieldToHost();
    if (getBackend() !== this.backend.backend) await setBackend(this.backend.backend);
  }
}

function isBatch(tokenIds: NewTokens): tokenIds is readonly ArrayLike<number>[] {
  return tokenIds.length > 0 && typeof tokenIds[0] !== 'number';
}
