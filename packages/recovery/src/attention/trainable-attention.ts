import type { DenseTensor, ModelSource, TensorRole } from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';
import type { AttentionTensors, LayerTensors } from '@kvlr/runtime';
import { add, mean, sqrt, square, type Tensor, tensor2d, tidy, type Variable, variable } from '@tensorflow/tfjs-core';
import type { AdamParameter } from '../training/adam-optimizer.ts';

type Projection = 'query' | 'key' | 'value' | 'output';
type TrainedPart = Projection | `${Projection}Bias`;

const projections: Projection[] = ['query', 'key', 'value', 'output'];
const roles: Record<TrainedPart, TensorRole> = {
  query: 'queryWeight',
  key: 'keyWeight',
  value: 'valueWeight',
  output: 'outputWeight',
  queryBias: 'queryBias',
  keyBias: 'keyBias',
  valueBias: 'valueBias',
  outputBias: 'outputBias',
};

/**
 * Queries and keys take longer steps than values and outputs: merging changes the scores most, and the loss sees them only
 * through the softmax. Chosen on held-out calibration text.
 */
const SCORE_STEP = 2;

/** The projections of one attention block as variables, with copies of their best values so far. */
export class TrainableAttention {
  /** All weights of the block, the trained ones as variables. */
  readonly weights: AttentionTensors;
  private readonly trained = new Map<TrainedPart, Variable>();
  private best: Map<TrainedPart, Tensor>;

  constructor(layer: LayerTensors) {
    for (const projection of projections) {
      for (const part of [projection, `${projection}Bias`] as const) {
        const start = layer[part];
        if (start !== undefined) this.trained.set(part, variable(start as Tensor));
      }
    }
    this.weights = { ...layer, ...Object.fromEntries(this.trained) };
    this.best = this.copies();
  }

  /**
   * The variables, each with the root mean square of its starting values as the scale of its steps, so that one learning
   * rate suits models of any width. A bias steps at least as far as its projection's weights.
   */
  async parameters(): Promise<AdamParameter[]> {
    const parameters: AdamParameter[] = [];
    for (const projection of projections) {
      const weight = this.trained.get(projection)!;
      const weightScale = await rootMeanSquare(weight);
      const factor = projection === 'query' || projection === 'key' ? SCORE_STEP : 1;
      parameters.push({ variable: weight, stepScale: factor * weightScale });
      const bias = this.trained.get(`${projection}Bias`);
      if (bias !== undefined) {
        parameters.push({ variable: bias, stepScale: factor * Math.max(weightScale, await rootMeanSquare(bias)) });
      }
    }
    return parameters;
  }

  variables(): Variable[] {
    return [...this.trained.values()];
  }

  /** Adds to the output projection, [numAttentionHeads * headDim, hiddenSize]. */
  moveOutput({ rows, cols, data }: Matrix): void {
    const output = this.trained.get('output')!;
    tidy(() => output.assign(add(output, tensor2d(Float32Array.from(data), [rows, cols]))));
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

  /** The current values as the model's files hold them: matrices [out, in], under the names of the model. */
  async download(model: ModelSource, layer: number): Promise<Map<string, DenseTensor>> {
    const tensors = new Map<string, DenseTensor>();
    for (const [part, current] of this.trained) {
      const values = (await current.data()) as Float32Array;
      tensors.set(model.tensorName(roles[part], layer), toFileLayout(values, current.shape));
    }
    return tensors;
  }

  dispose(): void {
    for (const copy of this.best.values()) copy.dispose();
    for (const part of this.trained.values()) part.dispose();
  }

  private copies(): Map<TrainedPart, Tensor> {
    return new Map([...this.trained].map(([part, current]) => [part, current.clone()]));
  }
}

function toFileLayout(values: Float32Array, shape: number[]): DenseTensor {
  if (shape.length === 1) return { shape, data: Float32Array.from(values) };
  const [rows, columns] = shape as [number, number];
  const data = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) data[column * rows + row] = values[row * columns + column]!;
  }
  return { shape: [columns, rows], data };
}

async function rootMeanSquare(x: Tensor): Promise<number> {
  const scalar = tidy(() => sqrt(mean(square(x))));
  const [value] = await scalar.data();
  scalar.dispose();
  return value!;
}
