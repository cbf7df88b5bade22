import type { DeferredTensor } from '@kvlr/checkpoint';
import type { DenseTensor, EventListener, ModelSource } from '@kvlr/core';
import { fingerprint, joinFingerprints, overlayTrained } from '../trained-model.ts';

/** One layer's attention after training. */
export interface ReconstructedLayer {
  layer: number;
  /**
   * What was trained, under the student's tensor names, matrices [out, in]: q, k, v and o (and biases), or o alone where nothing but
   * outputs was refitted.
   */
  tensors: Map<string, DenseTensor>;
  history: LayerHistory;
}

/** A reconstructed layer whose numbers lie elsewhere. */
export interface KeptReconstruction extends Omit<ReconstructedLayer, 'tensors'> {
  tensors: ReadonlyMap<string, DeferredTensor>;
  /** Equal for equal numbers. */
  fingerprint: string;
}

/**
 * What has to be known of a reconstructed layer to apply it, and where it is read again.
 *
 * @param read Gives the layer of this number. It is not to hold the layer: where it reads a file, the numbers are free.
 */
export function keptReconstruction(
  { tensors, ...rest }: ReconstructedLayer,
  read: (layer: number) => Promise<ReconstructedLayer>,
): KeptReconstruction {
  const deferred = new Map<string, DeferredTensor>();
  for (const [name, { shape }] of tensors) {
    const readTensor = async () => Float32Array.from((await read(rest.layer)).tensors.get(name)!.data);
    deferred.set(name, { shape: [...shape], read: readTensor });
  }
  return { ...rest, tensors: deferred, fingerprint: fingerprint(tensors) };
}

/** Errors are shares of the energy of what the original block adds to the stream. */
export interface LayerHistory {
  layer: number;
  /** Held-out error before and after. */
  initialError: number;
  finalError: number;
  /** What the layer was left with: the closed form, its output projection refitted, or what the steps found. */
  kept: 'closed form' | 'refit' | 'steps';
  points: TrainingPoint[];
}

export interface TrainingPoint {
  step: number;
  /** Mean error of the training steps since the last point; none before the first step. */
  trainError?: number;
  heldOutError: number;
}

/** How layers that are done go out and come back. */
export interface LayerExchange {
  /** Layers 0, 1, ... of an interrupted run with the same request: taken as they are. */
  completedLayers?: readonly KeptReconstruction[] | undefined;
  /**
   * Called after each trained layer, before the next begins: the place to save it. What it gives back takes the layer's place
   * (`keptReconstruction`). Default: memory.
   */
  keepLayer?: ((layer: ReconstructedLayer) => Promise<KeptReconstruction>) | undefined;
}

/** Layers that are done, in memory. */
export async function keepInMemory(layer: ReconstructedLayer): Promise<KeptReconstruction> {
  return keptReconstruction(layer, async () => layer);
}

/** The student with the attention of the given layers replaced by what block reconstruction found. */
export function applyReconstruction(
  student: ModelSource,
  layers: readonly Pick<KeptReconstruction, 'tensors' | 'fingerprint'>[],
): ModelSource {
  const tensors = new Map(layers.flatMap((layer) => [...layer.tensors]));
  return overlayTrained(student, tensors, joinFingerprints(layers.map((layer) => layer.fingerprint)));
}

/** What the course of a layer's held-out error led to; told to `onEvent`. */
export function closeHistory(
  layer: number,
  course: readonly TrainingPoint[],
  onEvent: EventListener | undefined,
): LayerHistory {
  const points = measuredPoints(course);
  const errors = points.map(({ heldOutError }) => heldOutError);
  const finalError = Math.min(...errors);
  const best = points[errors.indexOf(finalError)]!;
  const kept = best.step > 0 ? 'steps' : finalError < errors[0]! ? 'refit' : 'closed form';
  const history = { layer, initialError: errors[0]!, finalError, kept, points } satisfies LayerHistory;
  const steps = points.at(-1)!.step;
  const rejected = steps > 0 && kept !== 'steps' ? `; kept: ${kept}, ${steps} steps rejected` : '';
  onEvent?.({
    type: 'note',
    message: `Layer ${layer + 1}: held-out error ${percent(history.initialError)} before, ${percent(finalError)} after${rejected}.`,
    data: { ...history },
  });
  return history;
}

/** Why a layer keeps its closed form. */
export const untrainable = {
  immeasurable: 'its error cannot be measured, the numbers in it are too large',
  unsolvable: 'what its heads give is zero, or too small or too large to solve for',
} as const;

/** Tells that a layer's numbers allow nothing but its closed form. */
export function warnUntrainable(layer: number, reason: string, onEvent: EventListener | undefined): void {
  onEvent?.({
    type: 'warning',
    message: `Layer ${layer + 1} keeps its closed form: ${reason}.`,
    data: { layer, reason },
  });
}

/** Points without numbers that are none. A layer whose error could not be measured has lost all of it, as far as is known. */
function measuredPoints(course: readonly TrainingPoint[]): TrainingPoint[] {
  const measured = course.filter(({ heldOutError }) => Number.isFinite(heldOutError));
  if (measured.length === 0) return [{ step: 0, heldOutError: 1 }];
  return measured.map(({ trainError, ...point }) => (Number.isFinite(trainError) ? { ...point, trainError } : point));
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}
