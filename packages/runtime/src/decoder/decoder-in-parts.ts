import {
  type DecoderShape,
  globalTensors,
  KvlrError,
  type LayerActivations,
  type ModelSource,
  readRows,
  type TapName,
} from '@kvlr/core';
import { concat, getBackend, matMul, setBackend, type Tensor2D, tensor2d, tidy } from '@tensorflow/tfjs-core';
import { DeviceGuard } from '../backends/device-guard.ts';
import { type BackendName, type BackendRequest, selectBackend } from '../backends/select-backend.ts';
import { decoderLayer } from '../blocks/decoder-layer.ts';
import { createSequenceContext, type SequenceContext } from '../blocks/sequence-context.ts';
import { download, inputOfTable, logitsOfProducts, readOut, streamOfRows } from '../blocks/stock-decoder.ts';
import {
  disposeTensors,
  type LayerTensors,
  type TensorsByRole,
  uploadLayer,
  uploadTensors,
} from '../blocks/weights.ts';
import { floats, PassesByLength, type WindowPassSettings } from '../blocks/window-pass.ts';
import { yieldToHost } from '../generation/generate-tokens.ts';

export interface DecoderPartsSettings extends BackendRequest {
  /**
   * A table of the head up to this size stays on the device; a larger one passes through it in pieces, for each window.
   * Default 256 MiB.
   */
  residentTableBytes?: number | undefined;
}

/** One layer of a decoder on the device. */
export interface LayerOnDevice {
  /** The residual stream of one window behind the layer, from that before it, [tokens, hiddenSize], and what the layer computed. */
  pass(stream: Float32Array, taps: readonly TapName[]): Promise<{ after: Float32Array; activations: LayerActivations }>;
  /** Frees the device memory. */
  dispose(): void;
}

/** What stands behind the last layer of a decoder. */
export interface HeadOnDevice {
  /** Logits, [tokens, vocabSize], from the residual stream behind the last layer. */
  logits(stream: Float32Array): Promise<Float32Array>;
  /** Frees the device memory. */
  dispose(): void;
}

/**
 * A decoder of which one part at a time is on the device: the embedding of some windows, one layer, the head. So memory grows with the
 * widest layer and not with their number; whoever runs windows keeps their residual streams between the parts. The numbers are those
 * of a loaded model, bit for bit, as long as the table of the head is not cut.
 */
export class DecoderInParts {
  readonly shape: DecoderShape;

  private constructor(
    private readonly source: ModelSource,
    private readonly backend: BackendName,
    private readonly residentTableBytes: number,
    private readonly guard: DeviceGuard,
  ) {
    this.shape = source.shape;
  }

  /** Throws 'backend-unavailable'. Nothing is read yet. */
  static async open(source: ModelSource, settings: DecoderPartsSettings = {}): Promise<DecoderInParts> {
    const { residentTableBytes = 256 * 2 ** 20 } = settings;
    const { backend } = await selectBackend(settings);
    return new DecoderInParts(source, backend, residentTableBytes, new DeviceGuard(false));
  }

  /**
   * The streams before the first layer, one window after another; of the table only the rows that are needed are kept. Throws
   * 'invalid-argument' for windows that the model has no positions or ids for.
   */
  async *embed(windows: readonly Int32Array[]): AsyncGenerator<Float32Array, void, undefined> {
    const { shape, source } = this;
    for (const window of windows) checkWindow(window, shape);
    const rowsOf = await readEmbeddingRows(source, windows);
    const wanted = globalTensors(shape).filter(({ part, role }) => part === 'embedding' && role !== 'embedding');
    const globals = await this.run(() => uploadTensors(source, wanted));
    try {
      for (const ids of windows) {
        yield await this.run(() => {
          const stream = tidy(() => {
            const rows = tensor2d(rowsOf(ids), [ids.length, shape.embedding.width]);
            return streamOfRows(rows, Array.from(ids.keys()), { shape, globals }).clone();
          });
          return download(stream);
        });
      }
    } finally {
      disposeTensors(globals);
    }
  }

  /** Puts one layer on the device. The caller disposes it. Throws as `loadModel` does. */
  async loadLayer(layer: number): Promise<LayerOnDevice> {
    const weights = await this.run(() => uploadLayer(this.source, layer));
    const passes = new LayerPasses(this.shape, layer, weights);
    return {
      pass: (stream, taps) => this.run(() => passes.pass(stream, taps)),
      dispose: () => {
        passes.dispose();
        disposeTensors(weights);
      },
    };
  }

  /** Puts the head on the device, its table only where it is small. The caller disposes it. Throws as `loadModel` does. */
  async loadHead(): Promise<HeadOnDevice> {
    const { shape, source } = this;
    const table = shape.head.tied ? 'embedding' : 'languageModelHead';
    const isResident = 4 * shape.vocabSize * shape.embedding.width <= this.residentTableBytes;
    const wanted = globalTensors(shape).filter(({ role, part }) => (role === table ? isResident : part === 'head'));
    const globals = await this.run(() => uploadTensors(source, wanted));
    const passes = new PassesByLength((tokens) => ({
      inputs: [floats(tokens, shape.hiddenSize)],
      body: (stream) => [readOut(stream as Tensor2D, { shape, globals })],
    }));
    return {
      logits: (stream) =>
        this.run(async () => {
          if (!isResident) return this.logitsInPieces(stream, source.tensorName(table), globals);
          const [logits] = await passes.of(stream.length / shape.hiddenSize).run(stream);
          return logits!;
        }),
      dispose: () => {
        passes.dispose();
        disposeTensors(globals);
      },
    };
  }

  /** Rows of the head's table give columns of the logits: so the table passes through the device in pieces. */
  private async logitsInPieces(stream: Float32Array, table: string, globals: TensorsByRole): Promise<Float32Array> {
    const { shape, source } = this;
    const { vocabSize } = shape;
    const { width } = shape.embedding;
    const model = { shape, globals };
    const input = tidy(() => inputOfTable(streamTensor(stream, shape), model).clone());
    const rowsAtOnce = Math.max(1, Math.floor(this.residentTableBytes / (4 * width)));
    const products: Tensor2D[] = [];
    try {
      for (let from = 0; from < vocabSize; from += rowsAtOnce) {
        const to = Math.min(vocabSize, from + rowsAtOnce);
        const piece = await readRows(source.tensors, table, from, to);
        products.push(tidy(() => matMul<Tensor2D>(input, tensor2d(piece, [to - from, width]), false, true)));
      }
      return await download(tidy(() => logitsOfProducts(concat(products, 1), model)));
    } finally {
      for (const tensor of [input, ...products]) tensor.dispose();
    }
  }

  /** Lets the host breathe, activates the backend, which another model may have changed, and runs work on its device. */
  private async run<Value>(work: () => Promise<Value>): Promise<Value> {
    await yieldToHost();
    if (getBackend() !== this.backend) await setBackend(this.backend);
    return this.guard.run(work);
  }
}

/** Passes of windows through one layer. */
class LayerPasses {
  /** By what is tapped. */
  private readonly byTaps = new Map<string, PassesByLength>();
  private readonly contexts = new Map<number, SequenceContext>();

  constructor(
    private readonly shape: DecoderShape,
    private readonly layer: number,
    private readonly weights: LayerTensors,
  ) {}

  async pass(stream: Float32Array, taps: readonly TapName[]): ReturnType<LayerOnDevice['pass']> {
    const { layer } = this;
    const tokens = stream.length / this.shape.hiddenSize;
    const key = taps.join();
    const passes = this.byTaps.get(key) ?? new PassesByLength((length) => this.settings(length, taps));
    this.byTaps.set(key, passes);
    const [after, ...tapped] = await passes.of(tokens).run(stream);
    const shown = Object.fromEntries(taps.map((tap, place) => [tap, tapped[place]!]));
    return { after: after!, activations: { layer, tokens, ...shown } };
  }

  dispose(): void {
    for (const passes of this.byTaps.values()) passes.dispose();
    for (const context of this.contexts.values()) context.dispose();
  }

  private settings(tokens: number, taps: readonly TapName[]): WindowPassSettings {
    const { shape, layer, weights } = this;
    const context = this.contexts.get(tokens) ?? createSequenceContext({ shape, batch: 1, tokens });
    this.contexts.set(tokens, context);
    return {
      inputs: [floats(tokens, shape.hiddenSize)],
      body: (before) => {
        const { after, stages } = decoderLayer(before as Tensor2D, weights, { shape, layer, context });
        return [after, ...taps.map((tap) => (tap === 'stream' ? before : stages[tap]).clone())];
      },
    };
  }
}

function streamTensor(stream: Float32Array, { hiddenSize }: DecoderShape): Tensor2D {
  return tensor2d(stream, [stream.length / hiddenSize, hiddenSize]);
}

function checkWindow(window: Int32Array, { maxPositionEmbeddings, vocabSize }: DecoderShape): void {
  const isForeign = window.some((id) => !(id >= 0 && id < vocabSize));
  if (window.length > 0 && window.length <= maxPositionEmbeddings && !isForeign) return;
  throw new KvlrError('invalid-argument', {
    message: `expected windows of 1 to ${maxPositionEmbeddings} token ids, each from 0 to ${vocabSize - 1}, got another.`,
    where: { argument: 'windows' },
    data: { maxPositionEmbeddings, vocabSize, tokens: window.length },
  });
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
