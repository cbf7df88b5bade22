import { type DenseTensor, KvlrError } from '@kvlr/core';
import { type Tensor, tensor, tidy, type Variable } from '@tensorflow/tfjs-core';
import type { AdamOptimizer } from '../training/adam-optimizer.ts';
import type { TrainedLayer } from '../training/trained-layer.ts';
import type { HeldOutLosses } from './backpropagate.ts';

/** One look at the held-out windows. Losses are natural logarithms, means over predicted tokens. */
export interface DistillationPoint extends HeldOutLosses {
  step: number;
  /** Tokens trained on by then. */
  tokens: number;
  /** Mean loss of the training steps since the last point; none before the first step. */
  trainLoss?: number;
  /** True where the running mean of the values did better than the values themselves, and the losses are its. */
  averaged?: boolean;
  /** Behind the last step: the losses at this part of the way from the start to the values of the last step (`partsOfTheWay`). */
  partOfTheWay?: number;
}

/** The point with the least held-out loss, of those whose loss is a number: the values that are kept. */
export function leastOf(points: readonly DistillationPoint[]): DistillationPoint | undefined {
  // A loss that is none is null in a checkpoint.
  const measured = points.filter(({ heldOutLoss }) => Number.isFinite(heldOutLoss));
  return measured.length === 0
    ? undefined
    : measured.reduce((least, point) => (point.heldOutLoss < least.heldOutLoss ? point : least));
}

/** All that training needs to go on. */
export interface DistillationCheckpoint {
  /** Steps taken. */
  step: number;
  points: DistillationPoint[];
  /** Sum of the losses of the steps since the last point. */
  lossSinceLook: number;
  /** By layer, variable and kind: `0/query/current`, `/best`, `/average`, `/mean`, `/square`; matrices [in, out]. */
  tensors: Map<string, DenseTensor>;
}

/** The variables of all layers with what the optimiser remembers of them. */
export interface DistillationState {
  layers: readonly TrainedLayer[];
  optimizer: AdamOptimizer;
}

/** Copies everything that training needs to go on to the host. */
export async function saveState(
  state: DistillationState,
  course: Omit<DistillationCheckpoint, 'tensors'>,
): Promise<DistillationCheckpoint> {
  const tensors = new Map<string, DenseTensor>();
  for (const [name, entry] of entriesOf(state)) {
    tensors.set(name, { shape: [...entry.shape], data: Float32Array.from(await entry.data<'float32'>()) });
  }
  return { ...course, points: [...course.points], tensors };
}

/**
 * The inverse of `saveState`, into variables of the same model and settings.
 *
 * @throws KvlrError 'run-mismatch' when a tensor is missing or has another shape.
 */
export function restoreState(state: DistillationState, checkpoint: DistillationCheckpoint): void {
  const { layers, optimizer } = state;
  const read = (name: string, like: Tensor): Tensor => {
    const saved = checkpoint.tensors.get(name);
    if (saved !== undefined && saved.shape.join() === like.shape.join())
      return tensor(saved.data, saved.shape, 'float32');
    throw new KvlrError('run-mismatch', {
      message: `expected ${name} of shape [${like.shape}] in the checkpoint, got ${saved ? `[${saved.shape}]` : 'none'}`,
      hint: 'Start the distillation again without the checkpoint.',
      where: { argument: 'checkpoint' },
      data: { name, expected: [...like.shape], received: saved?.shape },
    });
  };
  const put = (variable: Variable, name: string) => tidy(() => variable.assign(read(name, variable)));
  layers.forEach((trained, layer) => {
    // First the best values, which `keep` takes from the variables; then the current ones.
    for (const [part, variable] of trained.trained) put(variable, `${layer}/${part}/best`);
    trained.keep();
    for (const [part, variable] of trained.trained) put(variable, `${layer}/${part}/current`);
    if (!checkpoint.tensors.has(`${layer}/${[...trained.trained.keys()][0]}/average`)) return;
    const averages = [...trained.trained].map(
      ([part, like]) => [part, read(`${layer}/${part}/average`, like)] as const,
    );
    trained.takeAverages(new Map(averages));
  });
  for (const [name, , { mean, square }] of momentsOf(state)) {
    put(mean, `${name}/mean`);
    put(square, `${name}/square`);
  }
  optimizer.resumeAfter(checkpoint.step);
}

function* entriesOf(state: DistillationState): Generator<[name: string, entry: Tensor]> {
  for (const [layer, trained] of state.layers.entries()) {
    for (const [part, variable] of trained.trained) yield [`${layer}/${part}/current`, variable];
    for (const [part, copy] of trained.kept) yield [`${layer}/${part}/best`, copy];
    for (const [part, copy] of trained.averages) yield [`${layer}/${part}/average`, copy];
  }
  for (const [name, , { mean, square }] of momentsOf(state)) {
    yield [`${name}/mean`, mean];
    yield [`${name}/square`, square];
  }
}

function* momentsOf({ layers, optimizer }: DistillationState) {
  const byVariable = new Map(optimizer.moments().map((moments) => [moments.parameter.variable, moments]));
  for (const [layer, trained] of layers.entries()) {
    for (const [part, variable] of trained.trained) {
      yield [`${layer}/${part}`, variable, byVariable.get(variable)!] as const;
    }
  }
}
