import type { ModelSource, TensorRole, TrainedValues } from '@kvlr/core';
import { type Tensor, type Tensor2D, tensor, tensor2d } from '@tensorflow/tfjs-core';
import type { TrainedLayer } from '../training/trained-layer.ts';
import { WholeProjections } from '../training/whole-projections.ts';
import type { NativeTraining, NativeTrainingModel } from './native-training.ts';

/** One model's layers in native code: streams go in and out as tensors of the backend, values of variables are read from it. */
export class NativePasses {
  private constructor(
    /** The same, from the host to the host. */
    readonly model: NativeTrainingModel,
    private readonly hiddenSize: number,
    private readonly layers: readonly WholeProjections[],
  ) {}

  /** @param layers What is in training, whole projections of all layers; none of a model that is only run. */
  static async open(
    native: NativeTraining,
    source: ModelSource,
    layers: readonly WholeProjections[] = [],
    signal?: AbortSignal,
  ): Promise<NativePasses> {
    const model = await native.load(
      source,
      layers.map((layer) => [...layer.roles.keys()]),
      { signal },
    );
    return new NativePasses(model, source.shape.hiddenSize, layers);
  }

  /** The streams before each layer and behind the last, pieces one under another. */
  async streams(pieces: readonly { tokenIds: Int32Array }[]): Promise<Tensor2D[]> {
    const values = await Promise.all(this.layers.map(valuesOf));
    const ofPieces: Float32Array[][] = [];
    for (const { tokenIds } of pieces) ofPieces.push(await this.model.streams(tokenIds, values));
    return ofPieces[0]!.map((_, place) => this.under(ofPieces.map((streams) => streams[place]!)));
  }

  /** The stream behind the last layer alone. */
  async lastStream(pieces: readonly { tokenIds: Int32Array }[]): Promise<Tensor2D> {
    const streams = await this.streams(pieces);
    const last = streams.pop()!;
    for (const stream of streams) stream.dispose();
    return last;
  }

  /** Gradients to the variables of a layer, in their order, and last to the stream before it; summed over pieces. */
  async gradients(layer: number, before: Tensor2D, upstream: Tensor2D, pieces: number): Promise<Tensor[]> {
    const trained = this.layers[layer]!;
    const values = await valuesOf(trained);
    const [streams, gradients] = [await before.data<'float32'>(), await upstream.data<'float32'>()];
    const each = streams.length / pieces;
    const sums = new Map<TensorRole, Float32Array>();
    const toStream: Float32Array[] = [];
    for (let piece = 0; piece < pieces; piece++) {
      const [from, to] = [piece * each, (piece + 1) * each];
      const found = await this.model.gradients(layer, streams.subarray(from, to), gradients.subarray(from, to), values);
      toStream.push(found.stream);
      for (const [role, matrix] of found.matrices) {
        const sum = sums.get(role);
        if (sum === undefined) sums.set(role, matrix);
        else for (const [place, value] of matrix.entries()) sum[place]! += value;
      }
    }
    const toVariables = [...trained.roles].map(([role, variable]) => tensor(sums.get(role)!, variable.shape));
    return [...toVariables, this.under(toStream)];
  }

  dispose(): void {
    this.model.dispose();
  }

  private under(streams: readonly Float32Array[]): Tensor2D {
    const { hiddenSize } = this;
    const values = new Float32Array(streams.reduce((total, { length }) => total + length, 0));
    let position = 0;
    for (const stream of streams) {
      values.set(stream, position);
      position += stream.length;
    }
    return tensor2d(values, [values.length / hiddenSize, hiddenSize]);
  }
}

/** Whether native code can train these layers: adapters read the stream in ways of their own. */
export function areWhole(layers: readonly TrainedLayer[]): layers is readonly WholeProjections[] {
  return layers.every((layer) => layer instanceof WholeProjections);
}

/** What the variables of a layer hold now. */
export async function valuesOf(layer: WholeProjections): Promise<TrainedValues> {
  const values = new Map<TensorRole, Float32Array>();
  for (const [role, variable] of layer.roles) values.set(role, await variable.data<'float32'>());
  return values;
}
