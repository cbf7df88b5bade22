import type { ProbedSpeeds } from './models/probe.ts';
import { type ModelSize, modelSize, speeds } from './models/training-estimate.ts';
import type { WindowMeans } from './models/window-means.ts';
import type { CompressionPlan } from './plan.ts';

/** Speed of windows in native code: measured on one core with AVX-512, on models of 30 and 135 million parameters. */
const nativeSpeed = 150e9;
/** Products a second of second moments in Float64, on WASM: measured on one core beside the same models. */
const momentSpeed = 9e9;
/** Numbers of weights that are read and unpacked a second: measured on one core, of Q4_1 blocks. */
const readSpeed = 80e6;
/** Speed of tokens one at a time by that of windows on the backend: on WASM .14 to .23 for models of 6, 30 and 135 million parameters. */
const singleShare = 0.2;
/** Speed of Float64 sums in plain JavaScript, on which eigenvectors run and logits are compared. */
export const plainSpeed = 1e9;

/** What windows run on, and how fast. */
export interface ProbedMeans extends WindowMeans {
  /** Speeds of this machine, instead of usual ones. */
  probed?: ProbedSpeeds | undefined;
}

/** What is read of a plan: all that passes through a model in windows. */
export type WindowPlan = Pick<CompressionPlan, 'model' | 'recipe' | 'texts'>;

/** Operations a second: of one thread of the backend, of windows side by side, and products of second moments on one thread. */
export function windowSpeeds({ backend, native, threads, probed }: ProbedMeans) {
  const one = probed?.backend ?? speeds[backend];
  // Whole-process speeds were measured; a probe in native code takes all cores, on the backend one thread of several.
  const ofProbe = probed && ((native && probed.native) || threads * probed.backend);
  return { one, windows: ofProbe ?? (native ? nativeSpeed : one), moments: probed?.moments ?? momentSpeed };
}

/** Operations of tokens through a whole model, in windows of a length. */
export function forwardOperations(size: ModelSize, tokens: number, length: number): number {
  return tokens * (2 * size.active + 2 * size.attentionWidth * length);
}

/** Seconds to read all weights once. */
export function readingSeconds({ parameters }: Pick<ModelSize, 'parameters'>): number {
  return parameters / readSpeed;
}

/** Seconds of the calibration text through the model, with the second moments of what passes. */
export function statisticsSeconds({ model, recipe: { calibration } }: WindowPlan, means: ProbedMeans): number {
  const size = modelSize(model);
  const { windows, moments } = windowSpeeds(means);
  const tokens = calibration.windows * calibration.windowLength;
  return (
    readingSeconds(size) +
    forwardOperations(size, tokens, calibration.windowLength) / windows +
    (tokens * size.statisticsNumbers) / ((means.probed ? means.threads : 1) * moments)
  );
}

/** Tokens of a window of the evaluation that are predicted, of all of them, and the texts that they are from. */
export function evaluationSize({ recipe: { evaluation }, texts }: WindowPlan) {
  const predicted = evaluation.windowLength - 1;
  const sources = new Set(texts.evaluation.map(({ source }) => source)).size;
  return { predicted, sources, tokens: sources * evaluation.windowsPerSource * predicted };
}

/** Seconds in which the logits of one model are compared with those of another, which are there. */
function comparingSeconds(plan: WindowPlan): number {
  return (evaluationSize(plan).tokens * plan.model.shape.vocabSize * 30) / plainSpeed;
}

/** Seconds of an evaluation of the model and of so many others of its size against it. */
export function evaluationSeconds(plan: WindowPlan, means: ProbedMeans, others: number): number {
  const { predicted, tokens } = evaluationSize(plan);
  const pass = forwardOperations(modelSize(plan.model), tokens, predicted) / windowSpeeds(means).windows;
  return (1 + others) * (readingSeconds(modelSize(plan.model)) + pass) + others * comparingSeconds(plan);
}

/**
 * Seconds of an evaluation through a cache that is not exact, against logits that are there: its windows run on the backend. With what it
 * takes to time tokens behind the cache, on one thread. What codecs and policies compute themselves is not known, and left out.
 */
export function codedEvaluationSeconds(
  plan: WindowPlan,
  means: ProbedMeans,
  timed: { prompts: number; tokens: number },
): number {
  const size = modelSize(plan.model);
  const { one } = windowSpeeds(means);
  const { predicted, tokens } = evaluationSize(plan);
  return (
    readingSeconds(size) +
    forwardOperations(size, tokens, predicted) / (means.threads * one) +
    comparingSeconds(plan) +
    forwardOperations(size, timed.prompts * predicted, predicted) / one +
    singleTokensSeconds(size, timed.tokens, predicted, means)
  );
}

/** Seconds of tokens that are generated one at a time on one thread of the backend, behind so many others. */
export function singleTokensSeconds(size: ModelSize, tokens: number, behind: number, means: ProbedMeans): number {
  return forwardOperations(size, tokens, behind) / (singleShare * windowSpeeds(means).one);
}
