import type { DenseTensor, ModelSource } from '@kvlr/core';
import { copyTensor, type LayerTensors, type Project } from '@kvlr/runtime';
import { add, mean, mul, sqrt, square, type Tensor, tidy, type Variable } from '@tensorflow/tfjs-core';
import type { AdamParameter } from './adam-optimizer.ts';

/** What takes the place of a layer's own weights. */
export interface StandIn {
  /** All weights of the layer; variables among them are trained. */
  weights: LayerTensors;
  /** Stands in for the projections of the weights. */
  project?: Project | undefined;
}

/** Does something with a layer's own weights. */
export type WithFrozen = (use: (frozen: LayerTensors) => void) => Promise<void>;

/** One layer in training: some of its numbers are variables, of which the best values so far are kept. */
export abstract class TrainedLayer {
  /** Copies of the values last kept, those of the start before. */
  private best: Map<string, Tensor>;
  /** Running means of the values, once `follow` was called. */
  private means = new Map<string, Tensor>();

  /** @param trained The variables by the names under which they are saved. */
  constructor(readonly trained: ReadonlyMap<string, Variable>) {
    this.best = this.copies();
  }

  get kept(): ReadonlyMap<string, Tensor> {
    return this.best;
  }

  /** @param frozen The layer's own weights. */
  abstract standIn(frozen: LayerTensors): StandIn;

  /** The variables with the scales of their steps. */
  abstract parameters(frozen: LayerTensors): Promise<AdamParameter[]>;

  /**
   * Moves the values back towards those of the start: this share of the way from there to here is left.
   *
   * @param withFrozen Has the layer's own weights for as long as they are used.
   */
  abstract moveBack(share: number, withFrozen: WithFrozen): Promise<void>;

  /** The current values as the model's files hold them: matrices [out, in], under the names of the model. */
  abstract download(model: ModelSource, layer: number, frozen: LayerTensors): Promise<Map<string, DenseTensor>>;

  variables(): Variable[] {
    return [...this.trained.values()];
  }

  /** Marks the current values as the best so far. */
  keep(): void {
    for (const copy of this.best.values()) copy.dispose();
    this.best = this.copies();
  }

  /** Goes back to the values last kept; those from the start when none were. */
  restore(): void {
    for (const [part, copy] of this.best) this.trained.get(part)!.assign(copy);
  }

  /** Running means of the values; empty where they are not followed. */
  get averages(): ReadonlyMap<string, Tensor> {
    return this.means;
  }

  /** Moves the running means towards the current values: `decay` of them stays. The first call takes the values themselves. */
  follow(decay: number): void {
    const before = this.means;
    this.means =
      before.size === 0
        ? this.copies()
        : new Map(
            [...this.trained].map(([part, current]) => [part, tidy(() => mix(before.get(part)!, current, decay))]),
          );
    for (const copy of before.values()) copy.dispose();
  }

  /** Puts these running means in the place of those there are. */
  takeAverages(means: Map<string, Tensor>): void {
    for (const copy of this.means.values()) copy.dispose();
    this.means = means;
  }

  /** Does some work with the running means in the place of the values. */
  async withAverages(work: () => Promise<void>): Promise<void> {
    const current = this.copies();
    for (const [part, mean] of this.means) this.trained.get(part)!.assign(mean);
    try {
      await work();
    } finally {
      for (const [part, copy] of current) {
        this.trained.get(part)!.assign(copy);
        copy.dispose();
      }
    }
  }

  /** The values as they are; the caller disposes them. */
  snapshot(): ReadonlyMap<string, Tensor> {
    return this.copies();
  }

  /** Sets the values to means of two snapshots: of the second this share. */
  blend(from: ReadonlyMap<string, Tensor>, to: ReadonlyMap<string, Tensor>, share: number): void {
    for (const [part, current] of this.trained) {
      tidy(() => current.assign(mix(to.get(part)!, from.get(part)!, share)));
    }
  }

  dispose(): void {
    for (const copy of [...this.best.values(), ...this.means.values()]) copy.dispose();
    for (const part of this.trained.values()) part.dispose();
  }

  private copies(): Map<string, Tensor> {
    return new Map([...this.trained].map(([part, current]) => [part, copyTensor(current)]));
  }
}

/** The mean of two tensors: of the first this share. */
export function mix(first: Tensor, second: Tensor, share: number): Tensor {
  return add(mul(first, share), mul(second, 1 - share));
}

/** A matrix [in, out] of the device as a file holds it, [out, in]; vectors as they are. */
export function toFileLayout(values: Float32Array, shape: readonly number[]): DenseTensor {
  if (shape.length === 1) return { shape: [...shape], data: Float32Array.from(values) };
  const [rows, columns] = shape as [number, number];
  const data = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) data[column * rows + row] = values[row * columns + column]!;
  }
  return { shape: [columns, rows], data };
}

export async function rootMeanSquare(x: Tensor): Promise<number> {
  const scalar = tidy(() => sqrt(mean(square(x))));
  const [value] = await scalar.data();
  scalar.dispose();
  return value!;
}
