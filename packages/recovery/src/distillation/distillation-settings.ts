import { KvlrError } from '@kvlr/core';
import { attentionTargets, checkTargets, type TrainingTarget } from '../training/targets.ts';
import type { Objective } from './objective.ts';

export interface DistillationSettings extends Objective {
  /** Steps of AdamW. */
  steps: number;
  /**
   * Tokens at most of the pieces that training windows are cut into: short ones give more steps for the same tokens. Held-out
   * windows stay whole. From 2.
   */
  pieceLength: number;
  /** Pieces in one step. */
  piecesPerStep: number;
  /** Pieces that are run at the same time; the gradients of a step are accumulated over them. 0: all of a step. */
  piecesAtOnce: number;
  /** Highest learning rate, as a share of the root mean square of each weight matrix. */
  learningRate: number;
  /** Steps over which the learning rate rises; after them it falls along half a cosine. */
  warmupSteps: number;
  /** How much longer the steps of queries and keys are than those of the other projections. Without adapters only. */
  scoreStep: number;
  /**
   * How much longer the steps of feed-forward matrices are than those of values and outputs, where they are trained: a share of 1 for
   * matrices that compression left as they were. Without adapters only.
   */
  feedForwardStep: number;
  /** Share of itself that a weight loses in a step of size 1. */
  weightDecay: number;
  /** Gradients whose norm over all that is trained is greater are shortened to it; 0: never. */
  clipNorm: number;
  /** What is trained. */
  targets: readonly TrainingTarget[];
  /** Rank of the adapters (LoRA) that are trained and then merged; 0 trains the matrices themselves. */
  adapterRank: number;
  /** What adapters give is multiplied by adapterAlpha / adapterRank; 0 stands for the rank. */
  adapterAlpha: number;
  /** Share of what adapters read that is left out, at random, at every step; from 0, below 1. */
  adapterDropout: number;
  /**
   * Tokens of the original's distribution that are kept for every token of the text, the likeliest ones, before training starts: the
   * original is then not in memory while the student is trained. 0: all, from the original beside the student.
   */
  topTokens: number;
  /**
   * How much of their running mean the trained values keep at every step; the mean is looked at beside the values, and taken where it
   * does better. 0: no mean. Below 1.
   */
  averageDecay: number;
  /** Steps between two looks at the held-out windows. */
  evaluateEvery: number;
  /** Steps between two checkpoints, each look giving one besides; 0: none but at looks. */
  checkpointEvery: number;
  /** Looks without a new best after which training stops. */
  patience: number;
  /** Seed of the order of the windows, of the adapters and of what they leave out. */
  seed: number;
}

export type DistillationPreset = 'light' | 'full';

const common = {
  pieceLength: 256,
  piecesPerStep: 1,
  piecesAtOnce: 0,
  learningRate: 0.001,
  scoreStep: 1,
  feedForwardStep: 1,
  weightDecay: 0.01,
  clipNorm: 0,
  targets: attentionTargets,
  adapterRank: 0,
  adapterAlpha: 0,
  adapterDropout: 0,
  nextTokenShare: 0,
  temperature: 1,
  hiddenWeight: 0,
  topTokens: 0,
  averageDecay: 0,
  checkpointEvery: 50,
  patience: 4,
  seed: 1,
};

/** Sized in tokens: light 65,536, full 299,520. Chosen on held-out calibration text; see docs/log.md. */
export const distillationPresets: Readonly<Record<DistillationPreset, Readonly<DistillationSettings>>> = {
  light: { ...common, steps: 256, warmupSteps: 18, evaluateEvery: 64 },
  full: { ...common, steps: 1170, warmupSteps: 80, evaluateEvery: 195 },
};

const integers = {
  steps: 1,
  pieceLength: 2,
  piecesPerStep: 1,
  piecesAtOnce: 0,
  evaluateEvery: 1,
  checkpointEvery: 0,
  patience: 1,
  warmupSteps: 0,
  adapterRank: 0,
  topTokens: 0,
} as const satisfies Partial<Record<keyof DistillationSettings, number>>;

/** A preset with changes, checked. Throws 'invalid-argument'. */
export function resolveDistillationSettings(
  preset: DistillationPreset,
  changes: Partial<DistillationSettings> = {},
): DistillationSettings {
  const base = distillationPresets[preset];
  if (base === undefined) {
    throw new KvlrError('invalid-argument', {
      message: `expected light or full, got ${String(preset)}`,
      where: { argument: 'preset' },
      data: { preset },
    });
  }
  const settings = { ...base, ...changes };
  for (const [name, atLeast] of Object.entries(integers) as [keyof typeof integers, number][]) {
    const value = settings[name];
    expectThat(name, `an integer of at least ${atLeast}`, value, Number.isInteger(value) && value >= atLeast);
  }
  for (const name of ['learningRate', 'scoreStep', 'feedForwardStep', 'temperature'] as const) {
    expectThat(name, 'a positive number', settings[name], settings[name] > 0 && Number.isFinite(settings[name]));
  }
  for (const name of ['weightDecay', 'clipNorm', 'adapterAlpha', 'hiddenWeight'] as const) {
    expectThat(name, 'a number of at least 0', settings[name], settings[name] >= 0 && Number.isFinite(settings[name]));
  }
  for (const name of ['adapterDropout', 'averageDecay'] as const) {
    expectThat(name, 'a share from 0, below 1', settings[name], settings[name] >= 0 && settings[name] < 1);
  }
  const { nextTokenShare, piecesPerStep, piecesAtOnce, topTokens, hiddenWeight } = settings;
  expectThat('nextTokenShare', 'a share from 0 to 1', nextTokenShare, nextTokenShare >= 0 && nextTokenShare <= 1);
  const divides = piecesAtOnce === 0 || piecesPerStep % piecesAtOnce === 0;
  expectThat('piecesAtOnce', `a divisor of the ${piecesPerStep} pieces of a step`, piecesAtOnce, divides);
  const recordsStreams = topTokens > 0 && hiddenWeight > 0;
  expectThat('hiddenWeight', '0 where the original is not in memory (topTokens)', hiddenWeight, !recordsStreams);
  checkTargets(settings.targets);
  return settings;
}

function expectThat(setting: string, expected: string, received: number, holds: boolean): void {
  if (holds) return;
  throw new KvlrError('invalid-argument', {
    message: `expected ${expected}, got ${received}`,
    where: { argument: setting },
    data: { setting, received },
  });
}
