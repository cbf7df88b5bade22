import {
  type ActivationSource,
  type DecoderShape,
  globalTensors,
  KvlrError,
  type LogitSource,
  type ModelSource,
  type RunControl,
  readRows,
  type TapName,
  throwIfAborted,
} from '@kvlr/core';
import { concat, getBackend, matMul, setBackend, type Tensor2D, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { DeviceGuard } from '../backends/device-guard.ts';
import { type BackendName, type BackendRequest, selectBackend } from '../backends/select-backend.ts';
import { decoderLayer } from '../blocks/decoder-layer.ts';
import { createSequenceContext, type SequenceContext } from '../blocks/sequence-context.ts';
import {
  download,
  downloadTaps,
  inputOfTable,
  logitsOfProducts,
  readOut,
  streamOfRows,
} from '../blocks/stock-decoder.ts';
import {
  disposeTensors,
  type LayerTensors,
  type TensorsByRole,
  uploadLayer,
  uploadTensors,
} from '../blocks/weights.ts';
import { yieldToHost } from '../generation/generate-tokens.ts';

/** Port: where the residual streams of windows, [tokens, hiddenSize] each, lie between two layers. */
export interface StreamStore {
  write(window: number, values: Float32Array): Promise<void>;
  /** What was written last for this window. */
  read(window: number): Promise<Float32Array>;
  /** Forgets everything. */
  close(): Promise<void>;
}

export interface WindowStreamSettings extends BackendRequest, RunControl {
  /** Default: memory. */
  store?: StreamStore | undefined;
  /** A table of the head up to this size stays on the device; a larger one passes through it in pieces, for each window. Default 256 MiB. */
  residentTableBytes?: number | undefined;
}

/**
 * Windows on their way through a model of which one layer at a time is on the device: memory grows with the widest layer, and not
 * with their number. `advance` takes all windows through the next layer; behind the last one their logits can be asked for. The numbers
 * are those of a loaded model, bit for bit, as long as the table of the head is not cut.
 */
export class WindowStream implements LogitSource {
  readonly shape: DecoderShape;
  readonly vocabSize: number;
  readonly backend: BackendName;
  /** The layer that the windows come to next; the number of layers behind the last. */
  layer = 0;
  private head: TensorsByRole | undefined;
  /** Places of the windows of the same tokens. */
  private readonly places = new Map<string, number[]>();
  private readonly contexts = new Map<number, SequenceContext>();

  private constructor(
    private readonly source: ModelSource,
    private readonly windows: readonly Int32Array[],
    private readonly store: StreamStore,
    private readonly guard: DeviceGuard,
    private readonly residentTableBytes: number,
    backend: BackendName,
  ) {
    this.shape = source.shape;
    this.vocabSize = source.shape.vocabSize;
    this.backend = backend;
    for (const [place, window] of windows.entries()) {
      const name = window.join();
      this.places.set(name, [...(this.places.get(name) ?? []), place]);
    }
  }

  /** Embeds the windows. Throws as `loadModel` does. */
  static async open(
    source: ModelSource,
    windows: readonly Int32Array[],
    settings: WindowStreamSettings = {},
  ): Promise<WindowStream> {
    const { backend } = await selectBackend(settings);
    const { store = new MemoryStreamStore(), residentTableBytes = 256 * 2 ** 20 } = settings;
    const stream = new WindowStream(source, windows, store, new DeviceGuard(false), residentTableBytes, backend);
    stream.checkWindows();
    try {
      await stream.guard.run(() => stream.embed(settings.signal));
    } catch (error) {
      await stream.dispose();
      throw error;
    }
    return stream;
  }

  /** Takes all windows through the next layer, one after another. */
  async advance(signal?: AbortSignal): Promise<void> {
    await this.throughLayer(async (pass) => {
      for (const place of this.windows.keys()) {
        throwIfAborted(signal);
        await pass(place, []);
      }
    });
  }

  /**
   * Takes all windows through the next layer and shows what it computes: `work` gets the layer as a source of activations, which it has
   * to ask for every window once, in any order.
   */
  async advanceShowing<Value>(work: (layer: ActivationSource) => Promise<Value>): Promise<Value> {
    const asked = new Map<string, number>();
    return this.throughLayer((pass) =>
      work({
        shape: this.shape,
        forEachLayer: async (tokenIds, taps, visit) => {
          const name = tokenIds.join();
          const times = asked.get(name) ?? 0;
          asked.set(name, times + 1);
          await visit(await pass(this.placeOf(tokenIds, times), taps));
        },
      }),
    );
  }

  /** Logits of one of the windows, [tokens, vocabSize], behind the last layer. */
  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    const place = this.placeOf(tokenIds);
    if (this.layer < this.shape.numLayers) {
      throw new KvlrError('invalid-argument', {
        message: `expected windows behind the last of ${this.shape.numLayers} layers, got them before layer ${this.layer}.`,
        data: { layer: this.layer, numLayers: this.shape.numLayers },
      });
    }
    await this.activate();
    return this.guard.run(async () => this.readOutWindow(await this.store.read(place)));
  }

  /** Frees the device and the store. */
  async dispose(): Promise<void> {
    for (const context of this.contexts.values()) context.dispose();
    this.contexts.clear();
    if (this.head) disposeTensors(this.head);
    this.head = undefined;
    await this.store.close();
  }

  private async throughLayer<Value>(
    work: (pass: (place: number, taps: readonly TapName[]) => ReturnType<typeof downloadTaps>) => Promise<Value>,
  ): Promise<Value> {
    await this.activate();
    const layer = this.layer;
    const weights = await this.guard.run(() => uploadLayer(this.source, layer));
    try {
      const value = await work(async (place, taps) => {
        await this.activate();
        return this.guard.run(() => this.passWindow(place, layer, weights, taps));
      });
      this.layer += 1;
      return value;
    } finally {
      disposeTensors(weights);
    }
  }

  private async passWindow(place: number, layer: number, weights: LayerTensors, taps: readonly TapName[]) {
    const { shape } = this;
    const tokens = this.windows[place]!.length;
    const context = this.contextOf(tokens);
    const before = tensor2d(await this.store.read(place), [tokens, shape.hiddenSize]);
    const [after, ...tapped] = tidy(() => {
      const { after, stages } = decoderLayer(before, weights, { shape, layer, context });
      return [after, ...taps.map((tap) => (tap === 'stream' ? before.clone() : stages[tap].clone()))];
    });
    before.dispose();
    await this.store.write(place, await download(after!));
    return downloadTaps(layer, tokens, taps, tapped);
  }

  private contextOf(tokens: number): SequenceContext {
    const known = this.contexts.get(tokens) ?? createSequenceContext({ shape: this.shape, batch: 1, tokens });
    this.contexts.set(tokens, known);
    return known;
  }

  /** The streams before the first layer: of the table only the rows that are needed, some at a time. */
  private async embed(signal: AbortSignal | undefined): Promise<void> {
    const { shape, source, windows } = this;
    const rowsOf = await readEmbeddingRows(source, windows);
    const wanted = globalTensors(shape).filter(({ part, role }) => part === 'embedding' && role !== 'embedding');
    const globals = await uploadTensors(source, wanted);
    try {
      for (const [place, ids] of windows.entries()) {
        throwIfAborted(signal);
        const stream = tidy(() => {
          const values = tensor2d(rowsOf(ids), [ids.length, shape.embedding.width]);
          return streamOfRows(values, Array.from(ids.keys()), { shape, globals }).clone();
        });
        await this.store.write(place, await download(stream));
      }
    } finally {
      disposeTensors(globals);
    }
  }

  private async readOutWindow(values: Float32Array): Promise<Float32Array> {
    const { shape, source, residentTableBytes } = this;
    const role = shape.head.tied ? 'embedding' : 'languageModelHead';
    const name = source.tensorName(role);
    const { width } = shape.embedding;
    const isResident = 4 * this.vocabSize * width <= residentTableBytes;
    const tokens = values.length / shape.hiddenSize;
    this.head ??= await uploadTensors(
      source,
      globalTensors(shape).filter((tensor) => {
        return tensor.role === role ? isResident : tensor.part === 'head' && tensor.role !== 'languageModelHead';
      }),
    );
    const model = { shape, globals: this.head };
    if (isResident) {
      return download(tidy(() => readOut(tensor2d(values, [tokens, shape.hiddenSize]), model)));
    }
    const input = tidy(() => inputOfTable(tensor2d(values, [tokens, shape.hiddenSize]), model).clone());
    const rowsAtOnce = Math.max(1, Math.floor(residentTableBytes / (4 * width)));
    const products: Tensor2D[] = [];
    try {
      for (let from = 0; from < this.vocabSize; from += rowsAtOnce) {
        const to = Math.min(this.vocabSize, from + rowsAtOnce);
        const piece = await readRows(source.tensors, name, from, to);
        products.push(tidy(() => matMul<Tensor2D>(input, tensor2d(piece, [to - from, width]), false, true)));
      }
      return await download(tidy(() => logitsOfProducts(concat(products, 1), model)));
    } finally {
      for (const tensor of [input, ...products]) tensor.dispose();
    }
  }

  /** Place of a window; where several are of the same tokens, of the `nth` of them. */
  private placeOf(tokenIds: Int32Array, nth = 0): number {
    const place = this.places.get(tokenIds.join())?.[nth];
    if (place !== undefined) return place;
    throw new KvlrError('invalid-argument', {
      message: 'expected one of the windows that the stream was opened with, got another.',
      where: { argument: 'tokenIds' },
    });
  }

  private checkWindows(): void {
    const { maxPositionEmbeddings, vocabSize } = this.shape;
    for (const window of this.windows) {
      const isForeign = window.some((id) => !(id >= 0 && id < vocabSize));
      if (window.length > 0 && window.length <= maxPositionEmbeddings && !isForeign) continue;
      throw new KvlrError('invalid-argument', {
        message: `expected windows of 1 to ${maxPositionEmbeddings} token ids, each from 0 to ${vocabSize - 1}, got another.`,
        where: { argument: 'windows' },
        data: { maxPositionEmbeddings, vocabSize, tokens: window.length },
      });
    }
  }

  private async activate(): Promise<void> {
    await yieldToHost();
    if (getBackend() !== this.backend) await setBackend(this.backend);
  }
}

/** Rows of the embedding table are read so many bytes at a time. */
const tableBytesAtOnce = 64 * 2 ** 20;

/** The rows of the embedding table that windows need; memory grows with those, and not with the table. */
async function readEmbeddingRows(
  { shape, tensors, tensorName }: ModelSource,
  windows: readonly Int32Array[],
): Promise<(ids: Int32Array) => Float32Array> {
  const { width } = shape.embedding;
  const name = tensorName('embedding');
  const needed = new Map(
    [...new Set(windows.flatMap((ids) => [...ids]))].sort((a, b) => a - b).map((id, row) => [id, row]),
  );
  const table = new Float32Array(needed.size * width);
  const atOnce = Math.max(1, Math.floor(tableBytesAtOnce / (4 * width)));
  for (let from = 0; from < shape.vocabSize; from += atOnce) {
    const to = Math.min(shape.vocabSize, from + atOnce);
    const found = [...needed].filter(([id]) => id >= from && id < to);
    if (found.length === 0) continue;
    const rows = await readRows(tensors, name, from, to);
    for (const [id, row] of found) table.set(rows.subarray((id - from) * width, (id - from + 1) * width), row * width);
  }
  return (ids) => {
    const values = new Float32Array(ids.length * width);
    ids.forEach((id, place) => {
      const row = needed.get(id)!;
      values.set(table.subarray(row * width, (row + 1) * width), place * width);
    });
    return values;
  };
}

/** Streams in memory. */
class MemoryStreamStore implements StreamStore {
  private readonly values: Float32Array[] = [];

  async write(window: number, values: Float32Array): Promise<void> {
    this.values[window] = values;
  }

  async read(window: number): Promise<Float32Array> {
    return this.values[window]!;
  }

  async close(): Promise<void> {
    this.values.length = 0;
  }
}
