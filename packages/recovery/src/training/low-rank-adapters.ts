import { createNormalRandom, createRandom, type DenseTensor, type ModelSource } from '@kvlr/core';
import { type LayerTensors, type Project, projectWith } from '@kvlr/runtime';
import {
  add,
  matMul,
  mul,
  type Tensor,
  type Tensor2D,
  tensor2d,
  tidy,
  type Variable,
  variable,
} from '@tensorflow/tfjs-core';
import type { AdamParameter } from './adam-optimizer.ts';
import { attentionTargets, projectionOf, type TrainingTarget, weightRole } from './targets.ts';
import { mix, rootMeanSquare, type StandIn, TrainedLayer, toFileLayout } from './trained-layer.ts';

export interface AdapterSettings {
  rank: number;
  /** What the adapters give is multiplied by alpha / rank. Default: the rank. */
  alpha?: number;
  /** Share of what the adapters read that is left out, at random, at every step; from 0, below 1. Default 0. */
  dropout?: number;
  /** Default: those of attention. A layer without such a matrix trains the others. */
  targets?: readonly TrainingTarget[];
  seed: number;
}

/** What an adapter adds to a projection, s x A B with s = alpha / rank, as files hold it: A as [rank, in], B as [out, rank]. */
export interface LowRankUpdate {
  down: DenseTensor;
  up: DenseTensor;
}

/** A [in, rank] and B [rank, out] on the device. */
interface LowRankAdapter {
  down: Tensor2D;
  up: Tensor2D;
}

/**
 * Projections of one layer with low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685): the matrices W stay, and A [in, rank] and
 * B [rank, out] of x W + s x A B are trained, s = alpha / rank. B starts at zero, so that training starts from the model as it is. A is
 * normal with variance 1 / rank: with s = 1 a step of B then moves W + A B about as far as the same step would move W itself.
 */
export class LowRankAdapters extends TrainedLayer {
  readonly scale: number;
  /** Which numbers are dropped follows from it alone; undefined where none are. The forward and the backward pass of a step share one. */
  dropoutSeed: number | undefined;
  private readonly adapters: ReadonlyMap<TrainingTarget, LowRankAdapter>;
  private readonly dropout: number;
  /** Copies of A and B as they began. */
  private readonly start: ReadonlyMap<string, Tensor>;

  /**
   * @param weights The layer's own, which are looked at and not kept.
   * @param start Values to start from, by target; those of another run.
   */
  constructor(
    weights: LayerTensors,
    settings: AdapterSettings,
    start: ReadonlyMap<TrainingTarget, LowRankUpdate> = new Map(),
  ) {
    const { rank, alpha = rank, dropout = 0, targets = attentionTargets, seed } = settings;
    const normal = createNormalRandom(seed);
    const trained = new Map<string, Variable>();
    const adapters = new Map<TrainingTarget, LowRankAdapter>();
    for (const target of targets) {
      const matrix = weights[weightRole(target)];
      if (matrix === undefined) continue;
      const [width, outputs] = matrix.shape as [number, number];
      const normals = Float32Array.from({ length: width * rank }, () => normal() / Math.sqrt(rank));
      const given = start.get(target);
      const pair = tidy(() => ({
        down: variable(tensor2d(given ? exchanged(given.down) : normals, [width, rank])),
        up: variable(tensor2d(given ? exchanged(given.up) : new Float32Array(rank * outputs), [rank, outputs])),
      }));
      const name = projectionOf(target);
      trained.set(`${name}.down`, pair.down).set(`${name}.up`, pair.up);
      adapters.set(target, { down: pair.down as Tensor2D, up: pair.up as Tensor2D });
    }
    super(trained);
    this.start = this.snapshot();
    this.scale = alpha / rank;
    this.dropout = dropout;
    this.adapters = adapters;
  }

  standIn(frozen: LayerTensors): StandIn {
    const plain = projectWith(frozen);
    const byProjection = new Map([...this.adapters].map(([target, adapter]) => [projectionOf(target), adapter]));
    const order = [...byProjection.keys()];
    const project: Project = (x, projection) => {
      const product = plain(x, projection);
      const adapter = byProjection.get(projection);
      if (adapter === undefined) return product;
      const read = this.dropoutSeed === undefined ? x : this.dropped(x, this.dropout, order.indexOf(projection));
      // The product A B is never formed: it is as large as W.
      const added: Tensor2D = matMul(matMul(read, adapter.down), adapter.up);
      return add(product, this.scale === 1 ? added : mul(added, this.scale));
    };
    return { weights: frozen, project };
  }

  async moveBack(share: number): Promise<void> {
    for (const [part, current] of this.trained) tidy(() => current.assign(mix(current, this.start.get(part)!, share)));
  }

  override dispose(): void {
    for (const copy of this.start.values()) copy.dispose();
    super.dispose();
  }

  /** Steps of A are shares of its own root mean square, steps of B of that of the matrix it adds to. */
  async parameters(frozen: LayerTensors): Promise<AdamParameter[]> {
    const parameters: AdamParameter[] = [];
    for (const target of this.adapters.keys()) {
      const down = this.trained.get(`${projectionOf(target)}.down`)!;
      const up = this.trained.get(`${projectionOf(target)}.up`)!;
      parameters.push({ variable: down, stepScale: await rootMeanSquare(down) });
      parameters.push({ variable: up, stepScale: await rootMeanSquare(frozen[weightRole(target)]!) });
    }
    return parameters;
  }

  /** The matrices with what the adapters add: W + s A B. */
  async download(model: ModelSource, layer: number, frozen: LayerTensors): Promise<Map<string, DenseTensor>> {
    const tensors = new Map<string, DenseTensor>();
    for (const [target, { down, up }] of this.adapters) {
      const merged = tidy(() => add(frozen[weightRole(target)] as Tensor2D, mul(matMul(down, up), this.scale)));
      const values = (await merged.data()) as Float32Array;
      tensors.set(model.tensorName(weightRole(target), layer), toFileLayout(values, merged.shape));
      merged.dispose();
    }
    return tensors;
  }

  /** The adapters themselves, as they are now. */
  async updates(): Promise<Map<TrainingTarget, LowRankUpdate>> {
    const updates = new Map<TrainingTarget, LowRankUpdate>();
    for (const [target, { down, up }] of this.adapters) {
      updates.set(target, {
        down: toFileLayout((await down.data()) as Float32Array, down.shape),
        up: toFileLayout((await up.data()) as Float32Array, up.shape),
      });
    }
    return updates;
  }

  /** x with a share of its numbers at zero and the others as much larger (Srivastava et al. 2014). */
  private dropped(x: Tensor2D, share: number, place: number): Tensor2D {
    const random = createRandom(Math.imul(this.dropoutSeed! + 1, 0x9e3779b1) ^ Math.imul(place + 1, 0x85ebca6b));
    const kept = Float32Array.from({ length: x.size }, () => (random() < share ? 0 : 1 / (1 - share)));
    return mul(x, tensor2d(kept, x.shape));
  }
}

function exchanged({ data, shape }: DenseTensor): Float32Array {
  return toFileLayout(data as Float32Array, shape).data as Float32Array;
}
