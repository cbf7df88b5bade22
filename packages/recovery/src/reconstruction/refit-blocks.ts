import {
  type DenseTensor,
  type LayerActivations,
  layerTensors,
  type ModelSource,
  mapInOrder,
  readTensor,
  type TapName,
} from '@kvlr/core';
import type { Matrix } from '@kvlr/linalg';
import type { LayerOnDevice } from '@kvlr/runtime';
import type { TrainingRequest } from '../training-request.ts';
import { OutputMomentSums, solveChange } from './output-moments.ts';
import {
  applyReconstruction,
  closeHistory,
  type LayerExchange,
  type ReconstructedLayer,
  untrainable,
  warnUntrainable,
} from './reconstructed-layer.ts';
import { differenceOf, embedWindows, tokenWeights, unitOfError, weightedEnergy } from './streams.ts';

/** One layer of a model where windows can pass through it, as many at once as `concurrency` says (default 1). */
export interface PassableLayer extends LayerOnDevice {
  concurrency?: number;
}

/** Port: loads one layer of a model of any shape. What asks for it disposes it. */
export type LoadLayer = (model: ModelSource, layer: number) => Promise<PassableLayer>;

export interface RefitRequest extends TrainingRequest, LayerExchange {
  loadLayer: LoadLayer;
}

/** A layer's training and held-out windows, in this order: streams of [tokens, hiddenSize]. */
interface LayerWindows {
  layer: number;
  /** The compressed model's stream before the block. */
  compressed: readonly Float32Array[];
  /** The original's stream behind it. */
  targets: readonly Float32Array[];
  /** What an error of each token counts, [tokens]. */
  weights: readonly Float32Array[];
  /** Weighted mean over held-out windows of the energy of what the original block adds. */
  energy: number;
}

/**
 * Block reconstruction without steps: the output projection of every layer in closed form, on layers that need no gradients and may
 * thus run anywhere. Each layer is passed by the original once and by the compressed model before and after; moments are summed in
 * Float64. Only for decoders without a norm behind the block.
 */
export async function refitBlocks(request: RefitRequest): Promise<ReconstructedLayer[]> {
  const { teacher, student, completedLayers = [] } = request;
  const windows = [...request.windows, ...request.heldOutWindows];
  const original = await embedWindows(teacher, windows);
  const compressed = await embedWindows(student, windows);
  const layers: ReconstructedLayer[] = [];
  for (let layer = 0; layer < teacher.shape.numLayers; layer++) {
    const isLast = layer === teacher.shape.numLayers - 1;
    const targets: Float32Array[] = [];
    const weights: Float32Array[] = [];
    let energy = 0;
    await passLayer(request, teacher, layer, original, ['blockOutput'], ({ after, activations }, window) => {
      const before = original[window]!;
      const target = sumOf(before, activations.blockOutput!);
      weights[window] = tokenWeights(target, teacher.shape.hiddenSize);
      if (window >= request.windows.length) energy += weightedEnergy(activations.blockOutput!, weights[window]);
      targets[window] = target;
      original[window] = after;
    });
    energy /= request.heldOutWindows.length;
    let done = completedLayers[layer];
    if (done === undefined) {
      done = await refitLayer(request, { layer, compressed, targets, weights, energy });
      await request.onLayerDone?.(done);
    }
    layers.push(done);
    if (isLast) break;
    await passLayer(request, applyReconstruction(student, [done]), layer, compressed, [], ({ after }, window) => {
      compressed[window] = after;
    });
  }
  return layers;
}

async function refitLayer(request: RefitRequest, windows: LayerWindows): Promise<ReconstructedLayer> {
  const { student, onEvent } = request;
  const { layer, compressed, targets, weights, energy } = windows;
  const { shape } = student;
  const { cache } = shape.layers[layer]!;
  const width = shape.numAttentionHeads * cache.valueSlotWidth;
  const trainCount = request.windows.length;
  const heldOutCount = request.heldOutWindows.length;
  const shareOf = (lackEnergy: number) => lackEnergy / (unitOfError(energy, targets[0]!.length) * heldOutCount);
  const lackOf = (window: number, { blockOutput }: LayerActivations) =>
    differenceOf(targets[window]!, sumOf(compressed[window]!, blockOutput!));

  const sums = [0, 1].map(() => new OutputMomentSums(width, shape.hiddenSize, shape.blocks.residualScale));
  const [train, heldOut] = sums as [OutputMomentSums, OutputMomentSums];
  await passLayer(request, student, layer, compressed, ['attended', 'blockOutput'], ({ activations }, window) => {
    const part = window < trainCount ? train : heldOut;
    part.add(activations.attended!, lackOf(window, activations), weights[window]!);
  });
  const unchanged = (reason?: string): ReconstructedLayer => {
    if (reason !== undefined) warnUntrainable(layer, reason, onEvent);
    const points = [{ step: 0, heldOutError: shareOf(heldOut.energy) }];
    return { layer, tensors: new Map(), history: closeHistory(layer, points, onEvent) };
  };
  if (!Number.isFinite(heldOut.energy)) return unchanged(untrainable.immeasurable);
  const moments = { train: train.finish(), heldOut: heldOut.finish() };
  const solved = moments.train && moments.heldOut && solveChange(moments.train, moments.heldOut);
  if (solved === undefined) return unchanged(untrainable.unsolvable);
  if (solved.change === undefined) return unchanged();

  const tensors = await movedOutput(student, layer, solved.change);
  const changed = applyReconstruction(student, [{ tensors }]);
  let lackEnergy = 0;
  await passLayer(
    request,
    changed,
    layer,
    compressed.slice(trainCount),
    ['blockOutput'],
    ({ activations }, heldOutWindow) => {
      const window = trainCount + heldOutWindow;
      lackEnergy += weightedEnergy(lackOf(window, activations), weights[window]!);
    },
  );
  const errors = [heldOut.energy, lackEnergy].map(shareOf);
  const points = errors.map((heldOutError) => ({ step: 0, heldOutError }));
  const history = closeHistory(layer, points, onEvent);
  return { layer, tensors: history.kept === 'refit' ? tensors : new Map(), history };
}

/** Takes windows through a layer, several at once, and hands over what each gave, in their order. */
async function passLayer(
  { loadLayer, signal }: Pick<RefitRequest, 'loadLayer' | 'signal'>,
  model: ModelSource,
  index: number,
  streams: readonly Float32Array[],
  taps: readonly TapName[],
  onWindow: (passed: Awaited<ReturnType<PassableLayer['pass']>>, window: number) => void,
): Promise<void> {
  const layer = await loadLayer(model, index);
  try {
    await mapInOrder({
      items: Array.from(streams.keys()),
      concurrency: layer.concurrency ?? 1,
      signal,
      work: async (window) => [await layer.pass(streams[window]!, taps)],
      onResult: (results, window) => {
        // Results are held to the end: what was seen of the layer is not to be.
        onWindow(results.pop()!, window);
      },
    });
  } finally {
    layer.dispose();
  }
}

/** The output projection, [hiddenSize, width] in files, with a change [width, hiddenSize] added. */
async function movedOutput(model: ModelSource, layer: number, change: Matrix): Promise<Map<string, DenseTensor>> {
  const entry = layerTensors(model.shape, layer).find(({ role }) => role === 'outputWeight')!;
  const data = Float32Array.from(await readTensor(model, entry));
  for (let row = 0; row < change.cols; row++) {
    for (let column = 0; column < change.rows; column++) {
      data[row * change.rows + column]! += change.data[column * change.cols + row]!;
    }
  }
  return new Map([[model.tensorName('outputWeight', layer), { shape: [...entry.shape], data }]]);
}

function sumOf(left: Float32Array, right: Float32Array): Float32Array {
  const sum = left.slice();
  for (let index = 0; index < sum.length; index++) sum[index]! += right[index]!;
  return sum;
}
