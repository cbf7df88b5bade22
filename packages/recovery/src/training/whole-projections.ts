import type { DenseTensor, ModelSource, TensorRole } from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';
import type { LayerTensors } from '@kvlr/runtime';
import { add, tensor2d, tidy, type Variable, variable } from '@tensorflow/tfjs-core';
import type { AdamParameter } from './adam-optimizer.ts';
import { attentionTargets, projectionOf, type TrainingTarget } from './targets.ts';
import { mix, rootMeanSquare, type StandIn, TrainedLayer, toFileLayout, type WithFrozen } from './trained-layer.ts';

/** Norms of queries and keys, of models that have them: scales as the decoder applies them, and biases. */
const normsOfTarget: { readonly [Target in TrainingTarget]?: readonly TensorRole[] } = {
  q_proj: ['queryNorm', 'queryNormBias'],
  k_proj: ['keyNorm', 'keyNormBias'],
};

export interface WholeProjectionSettings {
  /**
   * How much longer the steps of queries and keys are than those of the others. Default 2: merging changes the scores most, and the
   * loss sees them only through the softmax. Chosen on held-out calibration text.
   */
  scoreStep?: number;
  /** The same of feed-forward matrices. Default 1. */
  feedForwardStep?: number;
  /** Default: those of attention. A layer without such a matrix trains the others. */
  targets?: readonly TrainingTarget[];
}

/** Projections of one layer as variables: whole matrices, with their biases, and the norms of queries and keys, where there are any. */
export class WholeProjections extends TrainedLayer {
  /** The weights that it was made of, with the variables in their places. */
  readonly weights: LayerTensors;
  private readonly targets: readonly TrainingTarget[];
  private readonly scoreStep: number;
  private readonly feedForwardStep: number;

  constructor(layer: LayerTensors, settings: WholeProjectionSettings = {}) {
    const { scoreStep = 2, feedForwardStep = 1, targets = attentionTargets } = settings;
    const trained = new Map<string, Variable>();
    for (const target of targets) {
      const projection = projectionOf(target);
      const roles: TensorRole[] = [`${projection}Weight`, `${projection}Bias`, ...(normsOfTarget[target] ?? [])];
      for (const role of roles) {
        const start = layer[role];
        if (start !== undefined) trained.set(fileKey(role), variable(start));
      }
    }
    super(trained);
    this.targets = targets.filter((target) => trained.has(projectionOf(target)));
    this.scoreStep = scoreStep;
    this.feedForwardStep = feedForwardStep;
    this.weights = this.standIn(layer).weights;
  }

  standIn(frozen: LayerTensors): StandIn {
    return { weights: { ...frozen, ...Object.fromEntries(this.roles) } };
  }

  /** The variables by their roles, in the order of `variables`. */
  get roles(): Map<TensorRole, Variable> {
    return new Map([...this.trained].map(([key, value]) => [roleOfKey(key), value]));
  }

  /** They start as the layer's own weights. */
  moveBack(share: number, withFrozen: WithFrozen): Promise<void> {
    return withFrozen((frozen) => {
      for (const [role, current] of this.roles) tidy(() => current.assign(mix(current, frozen[role]!, share)));
    });
  }

  /**
   * The variables, each with the root mean square of its starting values as the scale of its steps, so that one learning
   * rate suits models of any width. A bias steps at least as far as its projection's weights.
   */
  async parameters(): Promise<AdamParameter[]> {
    const parameters: AdamParameter[] = [];
    for (const target of this.targets) {
      const projection = projectionOf(target);
      const weight = this.trained.get(projection)!;
      const weightScale = await rootMeanSquare(weight);
      const factor = this.stepOf(target);
      parameters.push({ variable: weight, stepScale: factor * weightScale });
      const bias = this.trained.get(`${projection}Bias`);
      if (bias !== undefined) {
        parameters.push({ variable: bias, stepScale: factor * Math.max(weightScale, await rootMeanSquare(bias)) });
      }
      for (const role of normsOfTarget[target] ?? []) {
        const norm = this.trained.get(role);
        // A bias of zeros steps as far as the scales beside it.
        const scale = norm && (this.trained.get(role.replace('Bias', '')) ?? norm);
        if (norm) parameters.push({ variable: norm, stepScale: this.scoreStep * (await rootMeanSquare(scale!)) });
      }
    }
    return parameters;
  }

  private stepOf(target: TrainingTarget): number {
    if (target === 'q_proj' || target === 'k_proj') return this.scoreStep;
    return (attentionTargets as readonly TrainingTarget[]).includes(target) ? 1 : this.feedForwardStep;
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

/** Name under which checkpoints of training keep a trained tensor: 'query' for queryWeight, 'queryBias' for queryBias. */
function fileKey(role: TensorRole): string {
  return role.replace(/Weight$/, '');
}

function roleOfKey(key: string): TensorRole {
  return (/(Bias|Norm)$/.test(key) ? key : `${key}Weight`) as TensorRole;
}
