import {
  type ActivationSource,
  type DecoderShape,
  KvlrError,
  type LayerActivations,
  type LogitSource,
  type TapName,
} from '@kvlr/core';
import type { Tensor } from 'onnxruntime-node';
import type { GraphSession, Tensors } from './graph-session.ts';
import { learnedInput, streamInput } from './graphs/decoder-graphs.ts';
import type { OnnxRuntimeModule } from './onnx-runtime.ts';
import { positionTables, tablesKey } from './position-tables.ts';

/** A decoder whose windows run in native code, in float32. Its methods are to be called one after another. */
export interface OnnxModel extends ActivationSource, LogitSource {
  /** Frees weights and sessions. The model cannot be used afterwards. */
  dispose(): void;
}

/** A graph and the weights that it runs on. */
export interface DecoderStep {
  session: GraphSession;
  weights: Tensors;
}

export interface OnnxDecoderParts {
  shape: DecoderShape;
  runtime: OnnxRuntimeModule;
  /** Rows of tokens and, where positions are learned, of positions; by their roles. */
  tables: Tensors;
  embedding: DecoderStep;
  layers: readonly DecoderStep[];
  head: DecoderStep;
}

/** Whole windows of tokens, graph by graph. */
export class OnnxDecoder implements OnnxModel {
  readonly shape: DecoderShape;
  readonly vocabSize: number;
  private parts: OnnxDecoderParts | undefined;
  /** What layers know of positions, for windows as long as the last one was. */
  private positions = { tokens: 0, tables: new Map<string, Tensors>() };

  constructor(parts: OnnxDecoderParts) {
    this.shape = parts.shape;
    this.vocabSize = parts.shape.vocabSize;
    this.parts = parts;
  }

  async logits(tokenIds: Int32Array): Promise<Float32Array> {
    const { head, layers } = this.open(tokenIds);
    let stream = await this.embed(tokenIds);
    for (const layer of layers.keys()) {
      stream = (await this.runLayer(layer, stream, tokenIds.length)).result;
    }
    const { result } = await head.session.run({ ...head.weights, [streamInput]: stream });
    return valuesOf(result);
  }

  async forEachLayer(
    tokenIds: Int32Array,
    taps: readonly TapName[],
    visit: (activations: LayerActivations) => void | Promise<void>,
  ): Promise<void> {
    const { layers } = this.open(tokenIds);
    const tokens = tokenIds.length;
    let stream = await this.embed(tokenIds);
    for (const layer of layers.keys()) {
      const { result, tapped } = await this.runLayer(layer, stream, tokens, taps);
      const activations: LayerActivations = { layer, tokens };
      for (const [place, tap] of taps.entries()) activations[tap] = valuesOf(tapped[place]!);
      stream = result;
      await visit(activations);
    }
  }

  dispose(): void {
    if (this.parts === undefined) return;
    const { embedding, layers, head } = this.parts;
    for (const session of new Set([embedding, ...layers, head].map((step) => step.session))) session.release();
    this.parts = undefined;
    this.positions.tables.clear();
  }

  /** The stream before the first layer, [tokens, hiddenSize]. */
  private embed(tokenIds: Int32Array): Promise<Tensor> {
    const { tables, embedding } = this.parts!;
    const { learnedPositions } = this.shape.embedding;
    const inputs: Tensors = { ...embedding.weights, [streamInput]: this.rowsOf(tables.embedding!, tokenIds) };
    if (learnedPositions) {
      // Beyond the learned positions the last of them stands for all.
      const { count, offset } = learnedPositions;
      const places = tokenIds.map((_, position) => Math.min(position + offset, count - 1));
      inputs[learnedInput] = this.rowsOf(tables.positionEmbedding!, places);
    }
    return embedding.session.run(inputs).then(({ result }) => result);
  }

  private runLayer(layer: number, stream: Tensor, tokens: number, taps: readonly TapName[] = []) {
    const { session, weights } = this.parts!.layers[layer]!;
    return session.run({ ...weights, ...this.positionsOf(layer, tokens), [streamInput]: stream }, taps);
  }

  private positionsOf(layer: number, tokens: number): Tensors {
    if (this.positions.tokens !== tokens) this.positions = { tokens, tables: new Map() };
    const { tables } = this.positions;
    const key = tablesKey(this.shape, layer);
    const made = tables.get(key) ?? this.makeTables(layer, tokens);
    tables.set(key, made);
    return made;
  }

  private makeTables(layer: number, tokens: number): Tensors {
    const tables = Object.entries(positionTables(this.shape, layer, tokens));
    return Object.fromEntries(tables.map(([name, { values, shape }]) => [name, this.tensor(values, shape)]));
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

  private tensor(values: Float32Array, shape: number[]): Tensor {
    return new this.parts!.runtime.Tensor('float32', values, shape);
  }

  /** Throws 'invalid-argument' for a disposed model, and for what is no window of this one. */
  private open(tokenIds: Int32Array): OnnxDecoderParts {
    if (this.parts === undefined) {
      throw new KvlrError('invalid-argument', { message: 'expected a loaded model, got a disposed one' });
    }
    const { maxPositionEmbeddings } = this.shape;
    const tokens = tokenIds.length;
    const foreign = tokenIds.find((id) => !(id >= 0 && id < this.vocabSize));
    if (tokens >= 1 && tokens <= maxPositionEmbeddings && foreign === undefined) return this.parts;
    const received = foreign === undefined ? `${tokens} of them` : `id ${foreign}`;
    throw new KvlrError('invalid-argument', {
      message: `expected 1 to ${maxPositionEmbeddings} token ids from 0 to ${this.vocabSize - 1}, got ${received}`,
      where: { argument: 'tokenIds' },
      data: { maxPositionEmbeddings, vocabSize: this.vocabSize, tokens, tokenId: foreign },
    });
  }
}

function valuesOf(tensor: Tensor): Float32Array {
  return tensor.data as Float32Array;
}
