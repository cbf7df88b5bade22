import { createNormalRandom, type DenseTensor, type ModelSource, type TensorRole } from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';
import { type LayerTensors, type Project, type Projection, projectWith } from '@kvlr/runtime';
import {
  add,
  matMul,
  mean,
  sqrt,
  square,
  type Tensor,
  type Tensor2D,
  tensor2d,
  tidy,
  type Variable,
  variable,
} from '@tensorflow/tfjs-core';
import type { AdamParameter } from './adam-optimizer.ts';

/** The matrices of an attention block. */
export type AttentionProjection = Extract<Projection, 'query' | 'key' | 'value' | 'output'>;

const projections: readonly AttentionProjection[] = ['query', 'key', 'value', 'output'];

/** The attention of one layer in training: some of its numbers are variables, of which the best values so far are kept. */
export abstract class TrainedAttention {
  /** All weights of the block; variables among them are trained. */
  abstract readonly weights: LayerTensors;
  /** Stands in for the projections of the weights. */
  readonly project?: Project;
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

/**
 * Queries and keys take longer steps than values and outputs: merging changes the scores most, and the loss sees them only
 * through the softmax. Chosen on held-out calibration text.
 */
const SCORE_STEP = 2;

/** Norms of queries and keys, of models that have them: scales as the decoder applies them, and biases. */
const norms = ['queryNorm', 'queryNormBias', 'keyNorm', 'keyNormBias'] as const satisfies readonly TensorRole[];

/** The projections of one attention block as variables: whole matrices, and biases and norms where there are any. */
export class TrainableAttention extends TrainedAttention {
  readonly weights: LayerTensors;

  /** @param scoreStep How much longer the steps of queries and keys are than those of values and outputs. */
  constructor(
    layer: LayerTensors,
    private readonly scoreStep = SCORE_STEP,
  ) {
    const trained = new Map<string, Variable>();
    const roles = projections.flatMap((projection) => [`${projection}Weight`, `${projection}Bias`] as const);
    for (const role of [...roles, ...norms]) {
      const start = layer[role];
      if (start !== undefined) trained.set(fileKey(role), variable(start));
    }
    super(trained);
    this.weights = { ...layer, ...Object.fromEntries([...trained].map(([key, value]) => [roleOfKey(key), value])) };
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
    for (const role of norms) {
      const norm = this.trained.get(role);
      // A bias of zeros steps as far as the scales beside it.
      const scale = norm && (this.trained.get(role.replace('Bias', '')) ?? norm);
      if (norm) parameters.push({ variable: norm, stepScale: this.scoreStep * (await rootMeanSquare(scale!)) });
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
      const { data, ...rest } = toFileLayout(values, current.shape);
      const isOffset = /Norm$/.test(part) && model.shape.attention.queryKeyNorm?.unitOffset === true;
      const written = isOffset ? data.map((scale) => scale - 1) : data;
      tensors.set(model.tensorName(roleOfKey(part), layer), { ...rest, data: written });
    }
    return tensors;
  }
}

/** What is added to a projection, x A B: `down` is A [in, rank], `up` is B [rank, out] (LoRA, Hu et al. 2021). */
interface LowRankAdapter {
  down: Tensor2D;
  up: Tensor2D;
}

/**
 * The projections of one attention block with low-rank adapters (LoRA, Hu et al. 2021): the matrices W stay, and A [in, rank]
 * and B [rank, out] of x W + x A B are trained. B starts at zero, so that training starts from the model as it is. A is normal
 * with variance 1 / rank: then a step of B moves W + A B about as far as the same step would move W itself.
 */
export class AdaptedAttention extends TrainedAttention {
  override readonly project: Project;
  private readonly adapters: Record<AttentionProjection, LowRankAdapter>;

  constructor(
    readonly weights: LayerTensors,
    { rank, seed }: { rank: number; seed: number },
  ) {
    const normal = createNormalRandom(seed);
    const trained = new Map<string, Variable>();
    const adapters: Partial<Record<AttentionProjection, LowRankAdapter>> = {};
    for (const projection of projections) {
      const [width, outputs] = weights[`${projection}Weight`]!.shape as [number, number];
      const down = Float32Array.from({ length: width * rank }, () => normal() / Math.sqrt(rank));
      const pair = tidy(() => ({
        down: variable(tensor2d(down, [width, rank])),
        up: variable(tensor2d(new Float32Array(rank * outputs), [rank, outputs])),
      }));
      trained.set(`${projection}.down`, pair.down).set(`${projection}.up`, pair.up);
      adapters[projection] = { down: pair.down as Tensor2D, up: pair.up as Tensor2D };
    }
    super(trained);
    this.adapters = adapters as Record<AttentionProjection, LowRankAdapter>;
    const plain = projectWith(weights);
    this.project = (x, projection) => {
      const adapter = adapters[projection as AttentionProjection];
      if (adapter === undefined) return plain(x, projection);
      // The product A B is never formed: it is as large as W.
      const weight = weights[`${projection}Weight`] as Tensor2D;
      const product: Tensor2D = add(matMul(x, weight), matMul(matMul(x, adapter.down), adapter.up));
      const bias = weights[`${projection}Bias`];
      return bias === undefined ? product : add(product, bias);
    };
  }

  /** Steps of A are shares of its own root mean square, steps of B of that of the matrix it adds to. */
  async parameters(): Promise<AdamParameter[]> {
    const parameters: AdamParameter[] = [];
    for (const projection of projections) {
      const down = this.trained.get(`${projection}.down`)!;
      const up = this.trained.get(`${projection}.up`)!;
      parameters.push({ variable: down, stepScale: await rootMeanSquare(down) });
      parameters.push({ variable: up, stepScale: await rootMeanSquare(this.weights[`${projection}Weight`]!) });
    }
    return parameters;
  }

  async download(model: ModelSource, layer: number): Promise<Map<string, DenseTensor>> {
    const tensors = new Map<string, DenseTensor>();
    for (const projection of projections) {
      const merged = tidy(() => this.merged(projection));
      const values = (await merged.data()) as Float32Array;
      tensors.set(model.tensorName(`${projection}Weight`, layer), toFileLayout(values, merged.shape));
      merged.dispose();
    }
    return tensors;
  }

  private merged(projection: AttentionProjection): Tensor2D {
    const { down, up } = this.adapters[projection];
    return add(this.weights[`${projection}Weight`] as Tensor2D, matMul(down, up));
  }
}

/** Name under which checkpoints of training keep a trained tensor: 'query' for queryWeight, 'queryBias' for queryBias. */
function fileKey(role: TensorRole): string {
  return role.replace(/Weight$/, '');
}

function roleOfKey(key: string): TensorRole {
  return (/(Bias|Norm)$/.test(key) ? key : `${key}Weight`) as TensorRole;
}

/** A matrix [in, out] of the device as a file holds it, [out, in]; vectors as they are. */
function toFileLayout(values: Float32Array, shape: readonly number[]): DenseTensor {
  if (shape.length === 1) return { shape: [...shape], data: Float32Array.from(values) };
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
