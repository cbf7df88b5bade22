import { type RunControl, throwIfAborted } from '@kvlr/core';
import { createSequenceContext, type DecoderTensors } from '@kvlr/runtime';
import type { NativePasses } from '../native/native-passes.ts';
import { AdamOptimizer, type AdamParameter } from '../training/adam-optimizer.ts';
import type { FrozenLayers } from '../training/frozen-layers.ts';
import { partsOfTheWay } from '../training/parts-of-the-way.ts';
import { batchOrder, learningRateAt } from '../training/schedule.ts';
import type { TrainedLayer } from '../training/trained-layer.ts';
import { heldOutLosses, type LossRequest } from './backpropagate.ts';
import type { DistillationSettings } from './distillation-settings.ts';
import {
  type DistillationCheckpoint,
  type DistillationPoint,
  leastOf,
  restoreState,
  saveState,
} from './distillation-state.ts';
import { PlainDistillationSteps } from './distillation-steps.ts';
import { distillOnHost } from './host-distillation.ts';
import type { TrainingPiece } from './pieces.ts';
import { recordDistillation } from './recorded-distillation.ts';
import type { Teacher } from './teacher.ts';

export interface StepsRequest extends RunControl {
  settings: DistillationSettings;
  pieces: { training: TrainingPiece[]; heldOut: TrainingPiece[] };
  teacher: Teacher | undefined;
  student: DecoderTensors;
  layers: readonly TrainedLayer[];
  /** The student's own layers. */
  frozen: FrozenLayers;
  /** Runs the layers as they are in training. */
  native?: NativePasses | undefined;
  /** On WebGPU: steps are recorded. Default true. */
  recordSteps?: boolean | undefined;
  checkpoint?: DistillationCheckpoint | undefined;
  onCheckpoint?: ((checkpoint: DistillationCheckpoint) => void | Promise<void>) | undefined;
}

/** Trains the layers to the end of the steps, or of the patience, and returns the course; `keep` holds the best values. */
export async function takeSteps(request: StepsRequest): Promise<DistillationPoint[]> {
  const {
    settings,
    pieces,
    teacher,
    student,
    layers,
    frozen,
    native,
    checkpoint,
    signal,
    recordSteps = true,
  } = request;
  const { steps: stepCount, weightDecay, clipNorm, averageDecay, evaluateEvery, checkpointEvery, patience } = settings;
  const piecesPerStep = Math.min(settings.piecesPerStep, pieces.training.length);
  const piecesAtOnce = Math.min(settings.piecesAtOnce || piecesPerStep, piecesPerStep);
  const tokensEach = pieces.training[0]!.tokenIds.length;
  const contextOf = (batch: number, tokens: number) => createSequenceContext({ shape: student.shape, batch, tokens });
  const contexts = {
    training: contextOf(piecesAtOnce, tokensEach),
    heldOut: contextOf(1, pieces.heldOut[0]!.tokenIds.length),
  };
  const base: Omit<LossRequest, 'context'> = { teacher, student, layers, frozen, native, objective: settings, signal };
  const parameters: AdamParameter[] = [];
  for (const [index, layer] of layers.entries()) {
    parameters.push(...(await frozen.use(index, (weights) => layer.parameters(weights))));
  }
  const optimizer = new AdamOptimizer(parameters, { weightDecay, clipNorm });
  const state = { layers, optimizer };
  const loss = { ...base, context: contexts.training };
  const stepsRequest = { settings, layers, optimizer, piecesPerStep, piecesAtOnce, loss };
  const steps =
    (recordSteps ? recordDistillation(stepsRequest) : undefined) ??
    distillOnHost(stepsRequest) ??
    new PlainDistillationSteps(stepsRequest);
  const points: DistillationPoint[] = [];
  /** Behind the last step values move back, and leave the steps' own behind. */
  const partReached = () => points.at(-1)?.partOfTheWay ?? 1;
  let movesBack = false;
  const publish = () => {
    if (!movesBack) steps.publish();
  };
  let lossSinceLook = 0;
  let lastLoss: number | undefined;
  /** Losses of the last steps, read while the next ones run. */
  let reading: Promise<number[]> | undefined;
  const settle = async (): Promise<void> => {
    for (const loss of (await reading) ?? []) {
      lastLoss = loss;
      lossSinceLook += loss;
    }
    reading = undefined;
  };
  const readLosses = async (): Promise<void> => {
    await settle();
    reading = steps.losses();
    // It is heard of in settle, if not in between.
    reading.catch(() => undefined);
  };
  const save = async (step: number): Promise<void> => {
    if (request.onCheckpoint === undefined) return;
    await readLosses();
    await settle();
    publish();
    await request.onCheckpoint(await saveState(state, { step, points, lossSinceLook }));
  };
  const measure = () => heldOutLosses({ ...base, context: contexts.heldOut }, pieces.heldOut);
  const look = async (step: number, partOfTheWay?: number): Promise<void> => {
    publish();
    let least = leastOf(points)?.heldOutLoss ?? Number.POSITIVE_INFINITY;
    const keepIfLess = (losses: DistillationPoint) => {
      if (!(losses.heldOutLoss < least)) return;
      least = losses.heldOutLoss;
      for (const layer of layers) layer.keep();
    };
    const since = step - (points.at(-1)?.step ?? 0);
    const where = {
      step,
      tokens: step * piecesPerStep * tokensEach,
      ...(since > 0 && { trainLoss: lossSinceLook / since }),
      ...(partOfTheWay !== undefined && { partOfTheWay }),
    };
    let point: DistillationPoint = { ...where, ...(await measure()) };
    keepIfLess(point);
    if (averageDecay > 0 && step > 0 && partOfTheWay === undefined) {
      await withAverages(layers, async () => {
        const averaged: DistillationPoint = { ...where, ...(await measure()), averaged: true };
        keepIfLess(averaged);
        if (!(averaged.heldOutLoss >= point.heldOutLoss)) point = averaged;
      });
    }
    points.push(point);
    lossSinceLook = 0;
    await save(step);
  };
  let step = 0;
  try {
    if (checkpoint === undefined) await look(0);
    else {
      restoreState(state, checkpoint);
      points.push(...checkpoint.points);
      ({ step, lossSinceLook } = checkpoint);
      movesBack = partReached() < 1;
      // The run may have been stopped between a step and its look.
      if ((step % evaluateEvery === 0 || step === stepCount) && points.at(-1)!.step < step) await look(step);
    }
    const batches = batchOrder(pieces.training.length, piecesPerStep, settings.seed);
    for (let past = 0; past < step; past++) batches.next();
    const started = { at: performance.now(), step };
    while (!movesBack && step < stepCount && looksSinceBest(points) < patience && !Number.isNaN(lastLoss)) {
      throwIfAborted(signal);
      const batch = batches.next().value.map((index) => pieces.training[index]!);
      const rate = learningRateAt(step, settings);
      await steps.take(batch, step, rate);
      if (averageDecay > 0) for (const layer of layers) layer.follow(averageDecay);
      step += 1;
      const seconds = (performance.now() - started.at) / 1000;
      const looks = step % evaluateEvery === 0 || step === stepCount;
      if (looks || lastLoss === undefined || step % steps.readEvery === 0) await readLosses();
      if (looks || lastLoss === undefined) await settle();
      if (looks) await look(step);
      else if (checkpointEvery > 0 && step % checkpointEvery === 0) await save(step);
      const tokensPerSecond = ((step - started.step) * piecesPerStep * tokensEach) / seconds;
      const detail = [
        `loss ${lastLoss!.toFixed(4)}`,
        `rate ${rate.toPrecision(2)}`,
        `held-out perplexity ${Math.exp(points.at(-1)!.heldOutNextToken).toFixed(2)}`,
        `${Math.round(tokensPerSecond).toLocaleString('en-US')} tokens/s`,
      ].join(', ');
      request.onEvent?.({
        type: 'progress',
        stage: 'recovery',
        completed: step,
        total: stepCount,
        unit: 'steps',
        detail,
      });
    }
    publish();
    movesBack = true;
    for (const part of partsOfTheWay) {
      const reached = partReached();
      if (part >= reached) continue;
      for (const [index, layer] of layers.entries()) {
        await layer.moveBack(part / reached, (move) => frozen.use(index, move));
      }
      await look(step, part);
    }
    return points;
  } catch (error) {
    // Between two steps nothing is half done: what was reached is kept. On the way back it may be; there the last look's is.
    if (signal?.aborted && points.length > 0 && !movesBack) await save(step);
    throw error;
  } finally {
    await reading?.catch(() => undefined);
    steps.dispose();
    optimizer.dispose();
    for (const context of Object.values(contexts)) context.dispose();
  }
}

/** Does some work with the running means of all layers in the place of their values. */
function withAverages(layers: readonly TrainedLayer[], work: () => Promise<void>): Promise<void> {
  const [first, ...others] = layers;
  return first === undefined ? work() : first.withAverages(() => withAverages(others, work));
}

function looksSinceBest(points: readonly DistillationPoint[]): number {
  const least = leastOf(points);
  return least === undefined ? 0 : points.length - 1 - points.indexOf(least);
}
