import { add, type NamedTensorMap, type Scalar } from '@tensorflow/tfjs-core';
import type { AdamOptimizer } from '../training/adam-optimizer.ts';
import { LowRankAdapters } from '../training/low-rank-adapters.ts';
import { readScalars } from '../training/read-scalars.ts';
import type { TrainedLayer } from '../training/trained-layer.ts';
import { backpropagate, type LossRequest } from './backpropagate.ts';
import type { DistillationSettings } from './distillation-settings.ts';
import { countedRows, type TrainingPiece } from './pieces.ts';

/** Steps of the optimiser, on gradients that are accumulated over the passes of a step. */
export interface DistillationSteps {
  /** Steps between two readings of losses: a GPU is waited for at each. */
  readonly readEvery: number;
  /** @param step 0-based. */
  take(batch: readonly TrainingPiece[], step: number, rate: number): Promise<void>;
  /** Losses of the steps since the last call, each before its step. */
  losses(): Promise<number[]>;
  /** Brings the variables and the optimiser's running means to where the last step left them: before others read them. */
  publish(): void;
  dispose(): void;
}

export interface DistillationStepsRequest {
  settings: DistillationSettings;
  layers: readonly TrainedLayer[];
  optimizer: AdamOptimizer;
  piecesPerStep: number;
  /** Of one pass; divides the pieces of a step. */
  piecesAtOnce: number;
  loss: LossRequest;
}

/** One operation after another. */
export class PlainDistillationSteps implements DistillationSteps {
  readonly readEvery = 1;
  /** By step and pass. */
  private unread: Scalar[][] = [];

  constructor(private readonly request: DistillationStepsRequest) {}

  async take(batch: readonly TrainingPiece[], step: number, rate: number): Promise<void> {
    const { settings, layers, optimizer, piecesAtOnce, loss } = this.request;
    const rows = Math.max(1, countedRows(batch));
    let gradients: NamedTensorMap = {};
    const losses: Scalar[] = [];
    try {
      for (let first = 0; first < batch.length; first += piecesAtOnce) {
        dropWith(layers, settings, step * batch.length + first);
        const pass = await backpropagate(loss, batch.slice(first, first + piecesAtOnce), rows);
        losses.push(pass.loss);
        gradients = first === 0 ? pass.gradients : addGradients(gradients, pass.gradients);
      }
      optimizer.apply(gradients, rate);
      this.unread.push(losses);
    } catch (error) {
      for (const loss of losses) loss.dispose();
      throw error;
    } finally {
      for (const layer of layers) if (layer instanceof LowRankAdapters) layer.dropoutSeed = undefined;
      for (const gradient of Object.values(gradients)) gradient.dispose();
    }
  }

  async losses(): Promise<number[]> {
    const { unread } = this;
    this.unread = [];
    try {
      const values = await readScalars(unread.flat());
      return unread.map(({ length }) => values.splice(0, length).reduce((total, loss) => total + loss, 0));
    } finally {
      for (const loss of unread.flat()) loss.dispose();
    }
  }

  /** They are there already. */
  publish(): void {}

  dispose(): void {
    for (const loss of this.unread.splice(0).flat()) loss.dispose();
  }
}

/** Lets the adapters leave out what follows from the seed, the pass and the layer. */
function dropWith(layers: readonly TrainedLayer[], { adapterDropout, seed }: DistillationSettings, pass: number): void {
  if (adapterDropout === 0) return;
  layers.forEach((layer, index) => {
    const ofPass = Math.imul(pass + 1, 0x27d4eb2f) ^ Math.imul(seed + 1, 0x165667b1);
    if (layer instanceof LowRankAdapters) layer.dropoutSeed = ofPass + index;
  });
}

/** Sums of gradients by name; what is summed is freed. */
export function addGradients(sums: NamedTensorMap, more: NamedTensorMap): NamedTensorMap {
  return Object.fromEntries(
    Object.entries(sums).map(([name, sum]) => {
      const added = add(sum, more[name]!);
      sum.dispose();
      more[name]!.dispose();
      return [name, added];
    }),
  );
}
