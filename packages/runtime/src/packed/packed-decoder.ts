import { BLOCK_TOKENS, type DecoderShape, hasBlocks, type LayerActivations, type TapName } from '@kvlr/core';
import {
  embedTokens,
  type NormWeights,
  type PackedMatrix,
  project,
  projectGreatest,
  projectLogits,
  sampleTokens,
} from '@kvlr/kernels';
import { concat, gather, getBackend, slice, type Tensor, type Tensor2D, tensor1d, tidy } from '@tensorflow/tfjs-core';
import { fusedKernelsFit } from '../blocks/fused-kernels-fit.ts';
import { download, downloadTaps, readOut, streamOfRows, type WindowRunner } from '../blocks/stock-decoder.ts';
import { type CacheSettings, resolveCacheSettings } from '../cache/cache-settings.ts';
import { beginCacheStep, type CacheStep } from '../cache/cache-step.ts';
import { DeviceFetching } from '../cache/device-fetching.ts';
import { KeyValueCache } from '../cache/key-value-cache.ts';
import { type FusedCacheStep, runPackedLayer, streamAfterLayer } from './packed-layer.ts';
import { disposePackedWeights, type PackedWeights } from './packed-weights.ts';
import { runWaitingLayers } from './waiting-layers.ts';

/** Tokens of a prompt that are run at once. */
export const PREFILL_TOKENS = 256;

/** Rows that a part of a prompt is padded to on WebGPU: few sizes mean few pipelines to build and few buffers to keep. */
const ROWS_ON_GPU = 32;

/** A decoder on the fused kernels and packed weights: tokens behind a cache, and whole windows. */
export class PackedDecoder implements WindowRunner {
  readonly weights: PackedWeights;
  readonly shape: DecoderShape;
  private readonly windowCache: CacheSettings;

  /** Windows are run behind a cache that is stored as `cache` says, so that evaluation sees what it costs. */
  constructor(shape: DecoderShape, weights: PackedWeights, cache: CacheSettings = {}) {
    this.shape = shape;
    this.weights = weights;
    const { dtype, exactWindow, exactFirst, coded, statistics } = resolveCacheSettings(cache);
    this.windowCache = { dtype, exactWindow, exactFirst, coded, statistics };
  }

  /** Logits of one new token of every sequence, [batch, vocabSize], from ids on the device. The cache counts them with `advance`. */
  stepOnDevice(cache: KeyValueCache, ids: Tensor): Tensor2D | Promise<Tensor2D> {
    if (cache.onDevice instanceof DeviceFetching) return this.readingStep(cache, cache.onDevice, ids);
    return tidy(() => {
      const stream = this.runLayers(cache, ids, Array(cache.batch).fill(1), 1);
      return this.readOut(stream);
    });
  }

  /** The stream after all layers, [batch, hiddenSize], of embedded tokens at positions that the device knows. Call inside tf.tidy. */
  streamOnDevice(embedded: Tensor2D, step: FusedCacheStep): Tensor2D {
    let stream = embedded;
    for (let layer = 0; layer < this.shape.numLayers; layer++) {
      const before = stream;
      stream = tidy(() => streamAfterLayer(before, this.weights, layer, step));
      if (before !== embedded) before.dispose();
    }
    return stream;
  }

  /**
   * Runs new tokens of every sequence behind those in the cache and adds them to it. Logits after each one's last token,
   * [batch, vocabSize]; each sequence needs at least one. `pause` is awaited between parts of a long prompt.
   */
  async extend(
    cache: KeyValueCache,
    added: readonly (readonly number[])[],
    pause: () => Promise<void>,
  ): Promise<Tensor2D> {
    const longest = Math.max(...added.map((ids) => ids.length));
    cache.reserve(longest);
    const lastRows: Tensor2D[] = [];
    try {
      for (let start = 0; start < longest; ) {
        if (start > 0) await pause();
        const end = start + (cache.onDevice?.room ?? PREFILL_TOKENS);
        const parts = added.map((ids) => ids.slice(start, end));
        const rows = await this.extendByPart(cache, added, parts, start);
        if (rows !== undefined) lastRows.push(rows);
        await cache.settle();
        start = end;
      }
      return tidy(() => {
        const order = this.orderOfLastRows(added);
        const together = lastRows.length === 1 ? lastRows[0]! : concat(lastRows);
        return this.readOut(order === undefined ? together : gather(together, tensor1d(order, 'int32')));
      });
    } finally {
      for (const rows of lastRows) rows.dispose();
    }
  }

  /**
   * Runs new tokens of the one sequence behind those in the cache and adds them to it. Logits after each of them, [tokens, vocabSize].
   * `pause` as in `extend`. Where the cache has blocks, tokens come in parts as long as these, so that they see packed what they would
   * see packed one by one.
   */
  async logitsBehind(cache: KeyValueCache, ids: readonly number[], pause: () => Promise<void>): Promise<Tensor2D> {
    cache.reserve(ids.length);
    const partTokens = comesInBlocks(cache) ? BLOCK_TOKENS : PREFILL_TOKENS;
    const parts: Tensor2D[] = [];
    try {
      for (let start = 0; start < ids.length; ) {
        if (start > 0) await pause();
        const part = ids.slice(start, start + (cache.onDevice?.room ?? partTokens));
        const rows = rowsOfPart(part.length);
        const padded = tensor1d([...part, ...Array(rows - part.length).fill(0)], 'int32');
        const stream = await this.streamOf(cache, padded, [part.length], rows);
        parts.push(tidy(() => this.readOut(slice(stream, [0, 0], [part.length, this.shape.hiddenSize]))));
        stream.dispose();
        padded.dispose();
        cache.advance([part]);
        await cache.settle();
        start += part.length;
      }
      return tidy(() => concat(parts));
    } finally {
      for (const part of parts) part.dispose();
    }
  }

  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    const cache = new KeyValueCache(this.shape, { capacity: tokenIds.length, ...this.windowCache });
    try {
      if (comesInBlocks(cache)) {
        const rows = await this.logitsBehind(cache, Array.from(tokenIds), async () => {});
        return await download(rows);
      }
      const result = tidy(() => {
        const ids = tensor1d(tokenIds, 'int32');
        return this.readOut(this.runLayers(cache, ids, [tokenIds.length], tokenIds.length));
      });
      return await download(result);
    } finally {
      cache.dispose();
    }
  }

  async forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => Promise<void>,
  ): Promise<void> {
    const cache = new KeyValueCache(this.shape, { capacity: tokenIds.length, ...this.windowCache });
    const step = beginCacheStep(cache, [tokenIds.length], tokenIds.length);
    let stream = tidy(() => this.embed(tensor1d(tokenIds, 'int32'), step));
    try {
      for (let layer = 0; layer < this.shape.numLayers; layer++) {
        const before = stream;
        const [after, ...tapped] = tidy(() => {
          const run = runPackedLayer(before, this.weights, layer, step);
          return [run.after, ...taps.map((tap) => run.tap(tap))];
        });
        before.dispose();
        stream = after!;
        await visit(await downloadTaps(layer, tokenIds.length, taps, tapped));
      }
    } finally {
      stream.dispose();
      step.dispose();
      cache.dispose();
    }
  }

  dispose(): void {
    disposePackedWeights(this.weights);
  }

  /** Runs parts of equal place in their prompts; the rows of those sequences that end in it, if any do. */
  private async extendByPart(
    cache: KeyValueCache,
    added: readonly (readonly number[])[],
    parts: readonly (readonly number[])[],
    start: number,
  ): Promise<Tensor2D | undefined> {
    const tokens = rowsOfPart(Math.max(...parts.map((ids) => ids.length)));
    const padded = parts.flatMap((ids) => [...ids, ...Array(tokens - ids.length).fill(0)]);
    const counts = parts.map((ids) => ids.length);
    const ended = counts.flatMap((count, sequence) =>
      count > 0 && start + count === added[sequence]!.length ? [sequence * tokens + count - 1] : [],
    );
    const ids = tensor1d(padded, 'int32');
    const stream = await this.streamOf(cache, ids, counts, tokens);
    ids.dispose();
    const [rows] = tidy(() => {
      if (ended.length === 0) return [];
      if (ended.length === 1) return [slice(stream, [ended[0]!, 0], [1, this.shape.hiddenSize])];
      return [gather(stream, tensor1d(ended, 'int32'))];
    });
    stream.dispose();
    cache.advance(parts);
    return rows;
  }

  /** Where each sequence's last row lies among those of all parts; undefined where they are in order. */
  private orderOfLastRows(added: readonly (readonly number[])[]): number[] | undefined {
    const partOf = added.map((ids) => Math.ceil(ids.length / PREFILL_TOKENS));
    const ended = [...added.keys()].sort((a, b) => partOf[a]! - partOf[b]! || a - b);
    const order = [...added.keys()].map((sequence) => ended.indexOf(sequence));
    return order.every((place, sequence) => place === sequence) ? undefined : order;
  }

  /** The stream after all layers, [batch * tokens, hiddenSize], which the caller disposes. */
  private async streamOf(
    cache: KeyValueCache,
    ids: Tensor,
    added: readonly number[],
    tokens: number,
  ): Promise<Tensor2D> {
    if (cache.onDevice instanceof DeviceFetching) return this.runWaiting(cache, cache.onDevice, ids, added[0]!);
    return tidy(() => this.runLayers(cache, ids, added, tokens));
  }

  private async readingStep(cache: KeyValueCache, fetching: DeviceFetching, ids: Tensor): Promise<Tensor2D> {
    const stream = await this.runWaiting(cache, fetching, ids, 1);
    const logits = tidy(() => this.readOut(stream));
    stream.dispose();
    return logits;
  }

  /** The stream after all layers of which each waits for the host, [tokens, hiddenSize], of which `count` are real. */
  private async runWaiting(
    cache: KeyValueCache,
    fetching: DeviceFetching,
    ids: Tensor,
    count: number,
  ): Promise<Tensor2D> {
    const positions = [Array.from({ length: ids.size }, (_, token) => cache.length + token)];
    const embedded = tidy(() => this.embed(ids, { positions }));
    return runWaitingLayers(embedded, this.weights, cache, fetching, count);
  }

  /** The stream after all layers, [batch * tokens, hiddenSize]. Call inside tf.tidy. */
  private runLayers(cache: KeyValueCache, ids: Tensor, added: readonly number[], tokens: number): Tensor2D {
    const step = beginCacheStep(cache, added, tokens);
    try {
      let stream = this.embed(ids, step);
      for (let layer = 0; layer < this.shape.numLayers; layer++) {
        const before = stream;
        stream = tidy(() => streamAfterLayer(before, this.weights, layer, step));
        before.dispose();
      }
      return stream;
    } finally {
      step.dispose();
    }
  }

  private embed(ids: Tensor, { positions }: Pick<CacheStep, 'positions'>): Tensor2D {
    const { matrices, tensors: globals } = this.weights.globals;
    const rows = embedTokens(ids, matrices.embedding!) as Tensor2D;
    return streamOfRows(rows, positions.flat(), { shape: this.shape, globals });
  }

  /** Logits of rows of the stream, [rows, vocabSize]. */
  readOut(stream: Tensor2D): Tensor2D {
    const { shape } = this;
    if (fusedKernelsFit(shape)) return projectLogits(stream, this.headNorm(), this.head()) as Tensor2D;
    const { tensors: globals } = this.weights.globals;
    return readOut(stream, { shape, globals }, (x) => project(x, this.head()) as Tensor2D);
  }

  /** The greatest logits of rows of the stream, see `projectGreatest`; for decoders whose fused kernels fit. */
  readOutGreatest(stream: Tensor2D): Tensor {
    return projectGreatest(stream, this.headNorm(), this.head());
  }

  private head(): PackedMatrix {
    const { matrices } = this.weights.globals;
    return (matrices.head ?? matrices.embedding)!;
  }

  private headNorm(): NormWeights {
    return { weight: this.weights.globals.tensors.finalNorm!, epsilon: this.shape.head.norm!.epsilon };
  }
}

/** Rows of each sequence for so many new tokens. */
function rowsOfPart(tokens: number): number {
  return tokens === 1 || getBackend() !== 'webgpu' ? tokens : Math.ceil(tokens / ROWS_ON_GPU) * ROWS_ON_GPU;
}

/**
 * Builds the pipelines of prompts, of tokens in a short and in a long context and of choosing tokens, by running each once. Only
 * the first text would wait for them otherwise. `onStep` is called after each.
 */
export async function warmUp(
  shape: DecoderShape,
  fused: PackedDecoder,
  cacheSettings: CacheSettings,
  onStep: (completed: number, total: number) => void,
): Promise<void> {
  // Longer than one chunk of decode attention.
  const prompt = Array(160).fill(0);
  const { capacity = prompt.length + 2, window = 0 } = cacheSettings;
  const length = Math.min(prompt.length, shape.maxPositionEmbeddings - 2, window > 0 ? prompt.length : capacity - 2);
  const cache = new KeyValueCache(shape, { ...cacheSettings, batch: 1 });
  const pause = async () => {};
  try {
    for (const [place, ids] of [[0], prompt.slice(0, length), [0]].entries()) {
      if (ids.length === 0) continue;
      const logits = await fused.extend(cache, [ids], pause);
      const chosen = sampleTokens(logits);
      await chosen.data();
      logits.dispose();
      chosen.dispose();
      onStep(place + 1, 3);
    }
  } finally {
    cache.dispose();
  }
}

/** Whether tokens are stored in blocks, so that what a token sees of the others depends on where a step ends. */
function comesInBlocks({ dtype, onDevice, settings: { coded } }: KeyValueCache): boolean {
  const { codec, window = 0, first = 0 } = coded ?? {};
  return (
    onDevice !== undefined ||
    hasBlocks(dtype) ||
    window + first > 0 ||
    (codec?.keys.blockTokens ?? 1) > 1 ||
    (codec?.values.blockTokens ?? 1) > 1
  );
}
