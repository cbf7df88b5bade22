import type { ModelShape } from '@kvlr/core';
import { throwIfAborted } from '@kvlr/core';
import { createSequenceContext, type SequenceContext } from '@kvlr/runtime';
import {
  add,
  div,
  type Scalar,
  square,
  sub,
  sum,
  type Tensor2D,
  tensor2d,
  tidy,
  variableGrads,
} from '@tensorflow/tfjs-core';
import { attentionOutput } from '../attention/attention-output.ts';
import type { TrainableAttention } from '../attention/trainable-attention.ts';
import type { ReconstructionSettings } from '../reconstruction-settings.ts';
import { AdamOptimizer } from './adam-optimizer.ts';
import { batchOrder } from './batch-order.ts';
import { learningRateAt } from './learning-rate.ts';
import { yieldToHost } from './yield-to-host.ts';

/** What a block is to learn: from the compressed model's stream before it to the original stream after it. */
export interface StreamPairs {
  /** [tokens, hiddenSize] per window. */
  inputs: Float32Array[];
  targets: Float32Array[];
  /** Mean over windows of the sum of squares of the original block's output: errors are given as shares of it. */
  energy: number;
}

export interface TrainingPoint {
  step: number;
  /** Mean relative error of the training steps since the last point. */
  trainError: number;
  heldOutError: number;
}

export interface AttentionTrainingRequest {
  attention: TrainableAttention;
  shape: ModelShape;
  layer: number;
  train: StreamPairs;
  heldOut: StreamPairs;
  settings: ReconstructionSettings;
  onStep?: (step: number, heldOutError: number) => void;
  signal?: AbortSignal;
}

/**
 * Trains the projections of one attention block by Adam on the squared distance to the original stream, and leaves it at
 * the values with the least error on the held-out windows, those of the start included. Returns the course of the errors,
 * the first point before any step. The relative error is the distance to the original stream after the block, as a share
 * of the energy of what the original block adds to it.
 */
export async function trainAttention(request: AttentionTrainingRequest): Promise<TrainingPoint[]> {
  const { attention, shape, layer, train, heldOut, settings, signal } = request;
  const tokens = train.inputs[0]!.length / shape.hiddenSize;
  const windowsPerStep = Math.min(settings.windowsPerStep, train.inputs.length);
  const context = createSequenceContext({ shape, batch: windowsPerStep, tokens });
  const optimizer = new AdamOptimizer(await attention.parameters());
  try {
    const measure = () => heldOutError(request, heldOut);
    const points: TrainingPoint[] = [{ step: 0, trainError: Number.NaN, heldOutError: await measure() }];
    let best = points[0]!.heldOutError;
    let looksWithoutGain = 0;
    let trainErrors: number[] = [];
    const batches = batchOrder(train.inputs.length, windowsPerStep, settings.seed + layer);
    for (let step = 0; step < settings.steps; step++) {
      throwIfAborted(signal);
      const batch = batches.next().value;
      const { value, grads } = variableGrads(() => blockError(request, train, batch, context), attention.variables());
      optimizer.apply(grads, learningRateAt(step, settings));
      trainErrors.push((await value.data())[0]!);
      for (const tensor of [value, ...Object.values(grads)]) tensor.dispose();
      await yieldToHost();
      const done = step + 1;
      if (done % settings.evaluateEvery === 0 || done === settings.steps) {
        const error = await measure();
        const trainError = trainErrors.reduce((total, one) => total + one, 0) / trainErrors.length;
        points.push({ step: done, trainError, heldOutError: error });
        trainErrors = [];
        looksWithoutGain = error < best ? 0 : looksWithoutGain + 1;
        if (error < best) {
          best = error;
          attention.keep();
        }
      }
      request.onStep?.(done, best);
      if (looksWithoutGain >= settings.patience) break;
    }
    attention.restore();
    return points;
  } finally {
    optimizer.dispose();
    context.dispose();
  }
}

/** Mean over all held-out windows, one at a time. */
async function heldOutError(request: AttentionTrainingRequest, pairs: StreamPairs): Promise<number> {
  const { shape, signal } = request;
  const tokens = pairs.inputs[0]!.length / shape.hiddenSize;
  const context = createSequenceContext({ shape, batch: 1, tokens });
  let total = 0;
  try {
    for (let index = 0; index < pairs.inputs.length; index++) {
      throwIfAborted(signal);
      const error = tidy(() => blockError(request, pairs, [index], context));
      total += (await error.data())[0]!;
      error.dispose();
    }
  } finally {
    context.dispose();
  }
  return total / pairs.inputs.length;
}

function blockError(
  { attention, shape, layer }: AttentionTrainingRequest,
  pairs: StreamPairs,
  batch: number[],
  context: SequenceContext,
): Scalar {
  const layout = shape.layers[layer]!;
  const stream = stacked(pairs.inputs, batch, shape.hiddenSize);
  const target = stacked(pairs.targets, batch, shape.hiddenSize);
  const output = attentionOutput(stream, attention.weights, { shape, layout, context });
  return div(sum(square(sub(add(stream, output), target))), pairs.energy * batch.length);
}

/** The batch's windows one under another, on the device. */
function stacked(windows: readonly Float32Array[], batch: number[], hiddenSize: number): Tensor2D {
  const length = windows[0]!.length;
  const values = new Float32Array(batch.length * length);
  batch.forEach((index, place) => {
    values.set(windows[index]!, place * length);
  });
  return tensor2d(values, [values.length / hiddenSize, hiddenSize]);
}
