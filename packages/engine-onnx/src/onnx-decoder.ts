import {
  type BlockWindow,
  type DecoderShape,
  type DecoderTensor,
  globalTensors,
  type LayerActivations,
  layerTensors,
  type ModelSource,
  readRows,
  readTensor,
  type TensorRole,
  type TrainedBlock,
  type TrainedValues,
} from '@kvlr/core';
import type { Tensor } from 'onnxruntime-node';
import type { OnnxEmbedding, OnnxHead, OnnxLayer, OnnxTrainedHead, OnnxTrainedLayer } from './decoder-parts.ts';
import { GraphSession, type Tensors } from './graph-session.ts';
import {
  blockErrorGraph,
  blockGradientGraph,
  blockMomentGraph,
  errorTap,
  lackTap,
  targetInput,
  tokenWeightInput,
} from './graphs/block-graphs.ts';
import {
  type DecoderGraph,
  embeddingGraph,
  headGraph,
  layerGradientGraph,
  layerGraph,
  layerKind,
  learnedInput,
  streamInput,
  tableOfHead,
  upstreamInput,
} from './graphs/decoder-graphs.ts';
import { readoutGradientGraph } from './graphs/readout-graph.ts';
import { type OnnxRuntimeModule, requireOnnxRuntime } from './onnx-runtime.ts';
import { checkArguments, type OnnxSettings } from './onnx-settings.ts';
import { inOrder, type Placement } from './placement.ts';
import { positionTables, tablesKey } from './position-tables.ts';

/**
 * A decoder of any family and cache layout on ONNX Runtime, in parts that are read when they are loaded: embedding, layers, head. A
 * part holds its weights once, float32 as they lie in the file; who drops the part frees them. Calls come one after another.
 */
export class OnnxDecoder {
  readonly shape: DecoderShape;
  private readonly sessions = new Map<string, Promise<GraphSession>>();
  /** What layers know of positions, for windows whose tokens stand as those of the last one did. */
  private positions = { placement: inOrder(0), tables: new Map<string, Tensors>() };
  private lastInOrder = inOrder(0);

  private constructor(
    private readonly source: ModelSource,
    private readonly runtime: OnnxRuntimeModule,
    private readonly settings: OnnxSettings,
  ) {
    this.shape = source.shape;
  }

  /** Throws 'backend-unavailable' without onnxruntime-node, 'invalid-argument'. Nothing is read yet. */
  static async open(source: ModelSource, settings: OnnxSettings = {}): Promise<OnnxDecoder> {
    checkArguments(source, settings);
    return new OnnxDecoder(source, await requireOnnxRuntime(), settings);
  }

  /** Reads the embedding. Throws as `loadLayer` does. */
  async loadEmbedding(): Promise<OnnxEmbedding> {
    const { learnedPositions } = this.shape.embedding;
    const wanted = globalTensors(this.shape).filter(({ part }) => part === 'embedding');
    const { embedding, positionEmbedding, ...weights } = await this.read(wanted);
    const session = await this.session('embedding', () => embeddingGraph(this.shape));
    return {
      stream: async (tokenIds, { positions } = this.inOrder(tokenIds.length)) => {
        const inputs: Tensors = { ...weights, [streamInput]: this.rowsOf(embedding!, tokenIds) };
        if (learnedPositions) {
          // Beyond the learned positions the last of them stands for all.
          const { count, offset } = learnedPositions;
          const places = positions.map((position) => Math.min(position + offset, count - 1));
          inputs[learnedInput] = this.rowsOf(positionEmbedding!, places);
        }
        return valuesOf((await session.run(inputs)).result);
      },
    };
  }

  /** Reads a layer. Throws 'tensor-missing', 'tensor-shape', 'non-finite'. */
  async loadLayer(layer: number): Promise<OnnxLayer> {
    const { shape } = this;
    const weights = await this.read(layerTensors(shape, layer));
    const session = await this.session(layerKind(shape, layer), () => layerGraph(shape, layer));
    return {
      pass: async (stream, taps, placement) => {
        const tokens = stream.length / shape.hiddenSize;
        const positions = this.positionsOf(layer, placement ?? this.inOrder(tokens));
        const inputs = { ...weights, ...positions, [streamInput]: this.streamOf(stream) };
        const { result, tapped } = await session.run(inputs, taps);
        const activations: LayerActivations = { layer, tokens };
        for (const [place, tap] of taps.entries()) activations[tap] = valuesOf(tapped[place]!);
        return { after: valuesOf(result), activations };
      },
    };
  }

  /**
   * Reads a layer without the matrices that are in training: their values come with every call. Throws as `loadLayer` does, and
   * 'unsupported-feature' where the layer has an operation without a gradient.
   */
  async loadTrainedLayer(layer: number, roles: readonly TensorRole[]): Promise<OnnxTrainedLayer> {
    const { shape } = this;
    const trained = new Set(roles);
    const { inputsOf } = await this.readTrained(layer, layerTensors(shape, layer), roles);
    const kind = `${layerKind(shape, layer)} with ${roles}`;
    const forward = await this.session(kind, () => layerGraph(shape, layer, trained));
    const backward = () => this.session(`${kind} back`, () => layerGradientGraph(shape, layer, trained));
    if (roles.length > 0) await backward();
    return {
      pass: async (stream, matrices) => valuesOf((await forward.run(inputsOf(stream, matrices))).result),
      gradients: async (stream, upstream, matrices) => {
        const inputs = { ...inputsOf(stream, matrices), [upstreamInput]: this.streamOf(upstream) };
        const { result, tapped } = await (await backward()).run(inputs, roles);
        return {
          stream: valuesOf(result),
          matrices: new Map(roles.map((role, place) => [role, valuesOf(tapped[place]!)])),
        };
      },
    };
  }

  /** Reads a layer's attention without what is in training. Throws as `loadTrainedLayer` does. */
  async loadTrainedBlock(layer: number, roles: readonly TensorRole[]): Promise<Omit<TrainedBlock, 'dispose'>> {
    const { shape } = this;
    const trained = new Set(roles);
    const attention = layerTensors(shape, layer).filter(({ part }) => part === 'attention');
    const { inputsOf } = await this.readTrained(layer, attention, roles);
    const kind = `attention of ${layerKind(shape, layer)} with ${roles}`;
    const graphs = { error: blockErrorGraph, gradients: blockGradientGraph, moments: blockMomentGraph };
    // What has no gradient says so now.
    blockGradientGraph(shape, layer, trained);
    const sessionOf = (name: keyof typeof graphs) =>
      this.session(`${name} of ${kind}`, () => graphs[name](shape, layer, trained));
    const feeds = ({ stream, target, weights }: BlockWindow, matrices: TrainedValues): Tensors => ({
      ...inputsOf(stream, matrices),
      [targetInput]: this.streamOf(target),
      [tokenWeightInput]: this.tensor(weights, [weights.length, 1]),
    });
    return {
      error: async (window, matrices) => {
        const { result } = await (await sessionOf('error')).run(feeds(window, matrices));
        return sumOf(valuesOf(result));
      },
      gradients: async (window, matrices) => {
        const { result, tapped } = await (await sessionOf('gradients')).run(feeds(window, matrices), roles);
        const found = roles.map((role, place) => [role, valuesOf(tapped[place]!)] as const);
        return { error: sumOf(valuesOf(result)), matrices: new Map(found) };
      },
      moments: async ({ weights, ...window }, matrices) => {
        const inputs = feeds({ ...window, weights: weights.map(Math.sqrt) }, matrices);
        const { result, tapped } = await (await sessionOf('moments')).run(inputs, [lackTap, errorTap]);
        const [lack, energies] = tapped.map(valuesOf) as [Float32Array, Float32Array];
        return { gram: valuesOf(result), lack, energy: sumOf(energies) };
      },
    };
  }

  /** Reads what of a layer is not in training, and tells what its graphs are given for a window. */
  private async readTrained(layer: number, tensors: readonly DecoderTensor[], roles: readonly TensorRole[]) {
    const { shape } = this;
    const trained = new Set(roles);
    const sizes = new Map(tensors.map((tensor) => [tensor.role, [...tensor.shape].reverse()]));
    const frozen = await this.read(tensors.filter(({ role }) => !trained.has(role)));
    const inputsOf = (stream: Float32Array, matrices: TrainedValues): Tensors => ({
      ...frozen,
      ...Object.fromEntries(roles.map((role) => [role, this.tensor(matrices.get(role)!, sizes.get(role)!)])),
      ...this.positionsOf(layer, this.inOrder(stream.length / shape.hiddenSize)),
      [streamInput]: this.streamOf(stream),
    });
    return { inputsOf };
  }

  /** Reads the head, its table only where it is small. Throws as `loadLayer` does. */
  async loadHead(): Promise<OnnxHead> {
    const { shape, source } = this;
    const { residentTableBytes = 256 * 2 ** 20 } = this.settings;
    const role = tableOfHead(shape);
    const { width } = shape.embedding;
    const wanted = globalTensors(shape).filter(({ part }) => part === 'head');
    const { languageModelHeadBias: bias, ...weights } = await this.read(
      wanted.filter((tensor) => tensor.role !== role),
    );
    const session = await this.session('head', () => headGraph(shape));
    const readPiece = async (from: number, to: number): Promise<Tensors> => {
      const rows = await readRows(source.tensors, source.tensorName(role), from, to);
      const piece = { [role]: this.tensor(rows, [to - from, width]) };
      if (bias === undefined) return piece;
      return { ...piece, languageModelHeadBias: this.tensor(valuesOf(bias).subarray(from, to), [to - from]) };
    };
    const rowsAtOnce = Math.max(1, Math.floor(residentTableBytes / (4 * width)));
    const whole = rowsAtOnce >= shape.vocabSize ? await readPiece(0, shape.vocabSize) : undefined;
    const run = async (stream: Tensor, piece: Tensors) =>
      valuesOf((await session.run({ ...weights, ...piece, [streamInput]: stream })).result);
    return {
      logits: async (values) => {
        const stream = this.streamOf(values);
        if (whole) return run(stream, whole);
        const tokens = values.length / shape.hiddenSize;
        const logits = new Float32Array(tokens * shape.vocabSize);
        for (let from = 0; from < shape.vocabSize; from += rowsAtOnce) {
          const count = Math.min(rowsAtOnce, shape.vocabSize - from);
          const part = await run(stream, await readPiece(from, from + count));
          for (let token = 0; token < tokens; token++) {
            logits.set(part.subarray(token * count, (token + 1) * count), token * shape.vocabSize + from);
          }
        }
        return logits;
      },
    };
  }

  /** Reads the head, its table whatever its size. Throws as `loadTrainedLayer` does. */
  async loadTrainedHead(): Promise<OnnxTrainedHead> {
    const { shape } = this;
    const table = tableOfHead(shape);
    const held = await this.read(globalTensors(shape).filter(({ part, role }) => part === 'head' || role === table));
    const forward = await this.session('head', () => headGraph(shape));
    const backward = await this.session('readout', () => readoutGradientGraph(shape));
    return {
      logits: async (stream) => valuesOf((await forward.run({ ...held, [streamInput]: this.streamOf(stream) })).result),
      divergence: async (stream, target, weights) => {
        const inputs = {
          ...{ ...held, [streamInput]: this.streamOf(stream) },
          [targetInput]: this.tensor(target, [weights.length, shape.vocabSize]),
          [tokenWeightInput]: this.tensor(weights, [weights.length, 1]),
        };
        const { result, tapped } = await backward.run(inputs, [errorTap]);
        return { divergence: sumOf(valuesOf(tapped[0]!)), stream: valuesOf(result) };
      },
    };
  }

  /** Ends all sessions. The parts cannot be used afterwards. */
  close(): void {
    for (const session of this.sessions.values()) session.then((open) => open.release()).catch(() => undefined);
    this.sessions.clear();
    this.positions.tables.clear();
  }

  private session(kind: string, makeGraph: () => DecoderGraph): Promise<GraphSession> {
    const session = this.sessions.get(kind) ?? GraphSession.open(this.runtime, makeGraph(), this.settings.threads);
    this.sessions.set(kind, session);
    return session;
  }

  private async read(wanted: readonly DecoderTensor[]): Promise<Tensors> {
    const tensors: Tensors = {};
    for (const entry of wanted) tensors[entry.role] = this.tensor(await readTensor(this.source, entry), entry.shape);
    return tensors;
  }

  private inOrder(tokens: number): Placement {
    if (this.lastInOrder.positions.length !== tokens) this.lastInOrder = inOrder(tokens);
    return this.lastInOrder;
  }

  private positionsOf(layer: number, placement: Placement): Tensors {
    if (this.positions.placement !== placement) this.positions = { placement, tables: new Map() };
    const { tables } = this.positions;
    const key = tablesKey(this.shape, layer);
    const made = tables.get(key) ?? this.makeTables(layer, placement);
    tables.set(key, made);
    return made;
  }

  private makeTables(layer: number, placement: Placement): Tensors {
    const tables = Object.entries(positionTables(this.shape, layer, placement));
    return Object.fromEntries(tables.map(([name, { values, shape }]) => [name, this.tensor(values, shape)]));
  }

  private streamOf(values: Float32Array): Tensor {
    return this.tensor(values, [values.length / this.shape.hiddenSize, this.shape.hiddenSize]);
  }

  private rowsOf(table: Tensor, rows: Int32Array): Tensor {
    const [, width] = table.dims as [number, number];
    const values = valuesOf(table);
    const picked = new Float32Array(rows.length * width);
    rows.forEach((row, place) => {
      picked.set(values.subarray(row * width, (row + 1) * width), place * width);
    });
    return this.tensor(picked, [rows.length, width]);
  }

  private tensor(values: Float32Array, shape: readonly number[]): Tensor {
    return new this.runtime.Tensor('float32', values, shape);
  }
}

function valuesOf(tensor: Tensor): Float32Array {
  return tensor.data as Float32Array;
}

/** In Float64. */
function sumOf(values: Float32Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}
