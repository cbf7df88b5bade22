import type { DenseTensor, ModelSource, TensorRole } from '@kvlr/core';
import type { AttentionTensors } from '@kvlr/runtime';
import { mean, sqrt, square, type Tensor, tidy, type Variable } from '@tensorflow/tfjs-core';
import type { AdamParameter } from '../training/adam-optimizer.ts';
import type { LowRankAdapters, Projection } from './low-rank-adapters.ts';

/** Parts of an attention block that training may change. */
export type ProjectionPart = Projection | `${Projection}Bias`;

export const rolesOfParts: Readonly<Record<ProjectionPart, TensorRole>> = {
  query: 'queryWeight',
  key: 'keyWeight',
  value: 'valueWeight',
  output: 'outputWeight',
  queryBias: 'queryBias',
  keyBias: 'keyBias',
  valueBias: 'valueBias',
  outputBias: 'outputBias',
};

/** The attention of one layer in training: some of its numbers are variables, of which the best values so far are kept. */
export abstract class TrainedAttention {
  /** All weights of the block; variables among them are trained. */
  abstract readonly weights: AttentionTensors;
  /** What is added to the projections. */
  readonly adapters?: LowRankAdapters;
  /** Copies of the values last kept, those of the start before. */
  private best: Map<string, Tensor>;

  /** @param trained The variables by the names under which they are saved. */
  constructor(readonly trained: ReadonlyMap<string, Variable>) {
    this.best = this.copies();
  }

  get kept(): ReadonlyMap<string, Tensor> {
    return this.best;
  }

  /** The variables with the scales of their steps. */
  abstract parameters(): Promise<AdamParameter[]>;

  /** The current values as the model's files hold them: matrices [out, in], under the names of the model. */
  abstract download(model: ModelSource, layer: number): Promise<Map<string, DenseTensor>>;

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

  dispose(): void {
    for (const copy of this.best.values()) copy.dispose();
    for (const part of this.trained.values()) part.dispose();
  }

  private copies(): Map<string, Tensor> {
    return new Map([...this.trained].map(([part, current]) => [part, current.clone()]));
  }
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
