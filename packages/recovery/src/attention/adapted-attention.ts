import { createNormalRandom, type DenseTensor, type ModelSource } from '@kvlr/core';
import type { AttentionTensors } from '@kvlr/runtime';
import { add, matMul, type Tensor2D, tensor2d, tidy, type Variable, variable } from '@tensorflow/tfjs-core';
import type { AdamParameter } from '../training/adam-optimizer.ts';
import { type LowRankAdapters, type Projection, projections } from './low-rank-adapters.ts';
import { rolesOfParts, rootMeanSquare, TrainedAttention, toFileLayout } from './trained-attention.ts';

/**
 * The projections of one attention block with low-rank adapters (LoRA, Hu et al. 2021): the matrices W stay, and A [in, rank]
 * and B [rank, out] of x W + x A B are trained. B starts at zero, so that training starts from the model as it is. A is normal
 * with variance 1 / rank: then a step of B moves W + A B about as far as the same step would move W itself.
 */
export class AdaptedAttention extends TrainedAttention {
  override readonly adapters: LowRankAdapters;

  constructor(
    readonly weights: AttentionTensors,
    { rank, seed }: { rank: number; seed: number },
  ) {
    const normal = createNormalRandom(seed);
    const trained = new Map<string, Variable>();
    const adapters: LowRankAdapters = {};
    for (const projection of projections) {
      const [width, outputs] = weights[projection].shape;
      const down = Float32Array.from({ length: width * rank }, () => normal() / Math.sqrt(rank));
      const pair = tidy(() => ({
        down: variable(tensor2d(down, [width, rank])),
        up: variable(tensor2d(new Float32Array(rank * outputs), [rank, outputs])),
      }));
      trained.set(`${projection}.down`, pair.down).set(`${projection}.up`, pair.up);
      adapters[projection] = { down: pair.down as Tensor2D, up: pair.up as Tensor2D };
    }
    super(trained);
    this.adapters = adapters;
  }

  /** Steps of A are shares of its own root mean square, steps of B of that of the matrix it adds to. */
  async parameters(): Promise<AdamParameter[]> {
    const parameters: AdamParameter[] = [];
    for (const projection of projections) {
      const down = this.trained.get(`${projection}.down`)!;
      const up = this.trained.get(`${projection}.up`)!;
      parameters.push({ variable: down, stepScale: await rootMeanSquare(down) });
      parameters.push({ variable: up, stepScale: await rootMeanSquare(this.weights[projection]) });
    }
    return parameters;
  }

  async download(model: ModelSource, layer: number): Promise<Map<string, DenseTensor>> {
    const tensors = new Map<string, DenseTensor>();
    for (const projection of projections) {
      const merged = tidy(() => this.merged(projection));
      const values = (await merged.data()) as Float32Array;
      tensors.set(model.tensorName(rolesOfParts[projection], layer), toFileLayout(values, merged.shape));
      merged.dispose();
    }
    return tensors;
  }

  private merged(projection: Projection): Tensor2D {
    const { down, up } = this.adapters[projection]!;
    return add(this.weights[projection], matMul(down, up));
  }
}
