import { throwIfAborted } from '@kvlr/core';
import { AdamOptimizer } from '../training/adam-optimizer.ts';
import { partsOfTheWay } from '../training/parts-of-the-way.ts';
import { batchOrder, learningRateAt, yieldToHost } from '../training/schedule.ts';
import type { BlockPasses } from './block-passes.ts';
import { type TrainingPoint, untrainable } from './reconstructed-layer.ts';
import { type ReconstructionSettings, refitsOutput } from './reconstruction-settings.ts';
import { refitOutput } from './refit-output.ts';
import type { BlockTask } from './tensor-block.ts';
import { PlainSteps } from './training-steps.ts';

export interface AttentionTrainingRequest
  extends Pick<BlockTask, 'attention' | 'shape' | 'layer' | 'train' | 'signal'> {
  /** The block's windows, wherever they run. */
  passes: BlockPasses;
  settings: ReconstructionSettings;
  onStep?: (step: number) => void;
  /** Hears why a layer keeps its closed form, where its numbers allow nothing else. */
  onUntrainable?: (reason: string) => void;
}

/**
 * Brings the stream after one attention block to the original one: the output projection in closed form, then all
 * projections by Adam, then the output projection in closed form again, since Adam has changed what it reads. Leaves the
 * block at the values with the least held-out error, those of the start included. Returns the course of that error; the
 * closed forms add a second point at the first and the last step.
 */
export async function trainAttention(request: AttentionTrainingRequest): Promise<TrainingPoint[]> {
  const { attention, passes, settings, shape } = request;
  const refits = refitsOutput(settings, shape);
  const points: TrainingPoint[] = [];
  const look: Look = async (step, trainError) => {
    const error = await passes.heldOutError();
    const isBest = Number.isFinite(error) && points.every((point) => !(point.heldOutError <= error));
    points.push({ step, trainError, heldOutError: error });
    if (isBest) attention.keep();
    return error;
  };
  const firstError = await look(0);
  if (!Number.isFinite(firstError)) {
    request.onUntrainable?.(untrainable.immeasurable);
    return points;
  }
  if (refits && !(await refitOutput(passes, attention))) {
    request.onUntrainable?.(untrainable.unsolvable);
    return points;
  }
  if (refits) await look(0);
  if (settings.steps > 0) {
    attention.restore();
    const startError = Math.min(...points.map(({ heldOutError }) => heldOutError));
    const lastStep = await takeSteps(request, look, startError);
    attention.restore();
    const isNearer = points.some(({ heldOutError }) => heldOutError < startError);
    if (refits && isNearer) {
      await refitOutput(passes, attention);
      await look(lastStep);
    }
  }
  attention.restore();
  return points;
}

/** Steps that have made the held-out error this much larger than it was are given up. */
const DIVERGED = 2;

/** Measures the held-out error, and keeps the block's values when it is the least so far. */
type Look = (step: number, trainError?: number) => Promise<number>;

/**
 * Trains by Adam until the steps are used up, or have led far away; returns the number of steps taken. Under a cosine the error may
 * rise before it falls below where it began, so that a rise alone ends nothing.
 */
async function takeSteps(request: AttentionTrainingRequest, look: Look, startError: number): Promise<number> {
  const { attention, passes, layer, train, settings, signal } = request;
  const count = train.count;
  const windowsPerStep = Math.min(settings.windowsPerStep, count);
  const optimizer = new AdamOptimizer(await attention.parameters());
  const batches = batchOrder(count, windowsPerStep, settings.seed + layer);
  const steps = passes.record?.(optimizer, windowsPerStep, settings.evaluateEvery) ?? new PlainSteps(passes, optimizer);
  const schedule = scheduleFor(startError, settings);
  const start = attention.snapshot();
  let diverged = false;
  let step = 0;
  try {
    while (step < schedule.steps && !diverged) {
      throwIfAborted(signal);
      const batch = batches.next().value;
      await steps.take(batch, learningRateAt(step, schedule));
      await yieldToHost();
      step += 1;
      if (step % settings.evaluateEvery === 0 || step === schedule.steps) {
        const error = await look(step, await steps.meanError());
        diverged = !(error <= DIVERGED * startError);
      }
      request.onStep?.(step);
    }
    await lookAlongTheWay(attention, start, () => look(step));
  } finally {
    steps.dispose();
    optimizer.dispose();
    for (const copy of start.values()) copy.dispose();
  }
  return step;
}

/**
 * Steps for a block of this held-out error. The rate goes with the root of the error: a block that is nearly right needs small steps. One
 * that is off by more than it adds to the stream is wrong mostly by what it reads, which its own matrices cannot mend: its steps
 * are shorter and fewer, by the error.
 */
function scheduleFor(error: number, settings: ReconstructionSettings): ReconstructionSettings {
  const beyond = Math.max(1, error);
  const steps = Math.max(1, Math.round(settings.steps / beyond));
  return { ...settings, steps, learningRate: (settings.learningRate * Math.sqrt(error)) / beyond };
}

async function lookAlongTheWay(
  attention: BlockTask['attention'],
  start: ReturnType<BlockTask['attention']['snapshot']>,
  look: () => Promise<unknown>,
): Promise<void> {
  const end = attention.snapshot();
  try {
    for (const part of partsOfTheWay) {
      attention.blend(start, end, part);
      await look();
    }
  } finally {
    for (const copy of end.values()) copy.dispose();
  }
}
