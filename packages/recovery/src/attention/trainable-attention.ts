import type { DenseTensor, ModelSource } from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';
import type { AttentionTensors, LayerTensors } from '@kvlr/runtime';
import { add, type Tensor, tensor2d, tidy, type Variable, variable } from '@tensorflow/tfjs-core';
import type { AdamParameter } from '../training/adam-optimizer.ts';
import { projections } from './low-rank-adapters.ts';
import {
  type ProjectionPart,
  rolesOfParts,
  rootMeanSquare,
  TrainedAttention,
  toFileLayout,
} from './trained-attention.ts';

/**
 * Queries and keys take longer steps than values and outputs: merging changes the scores most, and the loss sees them only
 * through the softmax. Chosen on held-out calibration text.
 */
const SCORE_STEP = 2;

/** The projections of one attention block as variables: whole matrices, and biases where there are any. */
export class TrainableAttention extends TrainedAttention {
  readonly weights: AttentionTensors;

  /** @param scoreStep How much longer the steps of queries and keys are than those of values and outputs. */
  constructor(
    layer: LayerTensors,
    private readonly scoreStep = SCORE_STEP,
  ) {
    const trained = new Map<string, Variable>();
    for (const projection of projections) {
      for (const part of [projection, `${projection}Bias`] as const) {
        const start = layer[part];
        if (start !== undefined) trained.set(part, variable(start as Tensor));
      }
    }
    super(trained);
    this.weights = { ...layer, ...Object.fromEntries(trained) };
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
      const factor = projection === 'query' || projection === 'key' ? this.scoreStep : 1;
      parameters.push({ variable: weight, stepScale: factor * weightScale });
      const bias = this.trained.get(`${projection}Bias`);
      if (bias !== undefined) {
        parameters.push({ variable: bias, stepScale: factor * Math.max(weightScale, await rootMeanSquare(bias)) });
      }
    }
    return parameters;
  }

  /** Adds to the output projection, [numAttentionHeads * headDim, hiddenSize]. */
  moveOutput({ rows, cols, data }: Matrix): void {
    const output = this.trained.get('output')!;
    tidy(() => output.assign(add(output, tensor2d(Float32Array.from(data), [rows, cols]))));
  }

  async download(model: ModelSource, layer: number): Promise<Map<string, DenseTensor>> {
    const tensors = new Map<string, DenseTensor>();
    for (const [part, current] of this.trained) {
      const values = (await current.data()) as Float32Array;
      tensors.set(model.tensorName(rolesOfParts[part as ProjectionPart], layer), toFileLayout(values, current.shape));
    }
    return tensors;
  }
}
