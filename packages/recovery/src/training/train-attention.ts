import { throwIfAborted } from '@kvlr/core';
import { createSequenceContext } from '@kvlr/runtime';
import { variableGrads } from '@tensorflow/tfjs-core';
import type { ReconstructionSettings } from '../reconstruction-settings.ts';
import { AdamOptimizer } from './adam-optimizer.ts';
import { batchOrder } from './batch-order.ts';
import { type BlockTask, blockError, heldOutError } from './block-error.ts';
import { learningRateAt } from './learning-rate.ts';
import { refitOutput } from './refit-output.ts';
import { yieldToHost } from './yield-to-host.ts';

export interface TrainingPoint {
  step: number;
  /** Mean error of the training steps since the last point; none before the first step. */
  trainError?: number;
  heldOutError: number;
}

export interface AttentionTrainingRequest extends BlockTask {
  settings: ReconstructionSettings;
  onStep?: (step: number, heldOutError: number) => void;
}

/**
 * Brings the stream after one attention block to the original one: first the output projection in closed form, then all
 * projections by Adam. Leaves the block at the values with the least held-out error, those of the start included, and
 * returns the course of the errors: the first point is the start, a second one at step 0 follows the closed form.
 */
export async function trainAttention(request: AttentionTrainingRequest): Promise<TrainingPoint[]> {
  const { attention, shape, layer, train, settings, signal } = request;
  const points: TrainingPoint[] = [];
  let best = Number.POSITIVE_INFINITY;
  let looksWithoutGain = 0;
  const look = async (step: number, trainError?: number): Promise<void> => {
    const error = await heldOutError(request);
    points.push({ step, trainError, heldOutError: error });
    looksWithoutGain = error < best ? 0 : looksWithoutGain + 1;
    if (error < best) {
      best = error;
      attention.keep();
    }
  };
  await look(0);
  if (settings.refitOutput) {
    await refitOutput(request);
    await look(0);
  }
  const windowsPerStep = Math.min(settings.windowsPerStep, train.inputs.length);
  const tokens = train.inputs[0]!.length / shape.hiddenSize;
  const context = createSequenceContext({ shape, batch: windowsPerStep, tokens });
  const optimizer = new AdamOptimizer(await attention.parameters());
  try {
    let trainErrors: number[] = [];
    const batches = batchOrder(train.inputs.length, windowsPerStep, settings.seed + layer);
    for (let step = 1; step <= settings.steps && looksWithoutGain < settings.patience; step++) {
      throwIfAborted(signal);
      const batch = batches.next().value;
      const { value, grads } = variableGrads(() => blockError(request, train, batch, context), attention.variables());
      optimizer.apply(grads, learningRateAt(step - 1, settings));
      trainErrors.push((await value.data())[0]!);
      for (const tensor of [value, ...Object.values(grads)]) tensor.dispose();
      await yieldToHost();
      if (step % settings.evaluateEvery === 0 || step === settings.steps) {
        await look(step, trainErrors.reduce((total, error) => total + error, 0) / trainErrors.length);
        trainErrors = [];
      }
      request.onStep?.(step, best);
    }
  } finally {
    optimizer.dispose();
    context.dispose();
  }
  attention.restore();
  return points;
}
