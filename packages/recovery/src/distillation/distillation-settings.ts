import { KvlrError } from '@kvlr/core';

export interface DistillationSettings {
  /** Steps of AdamW. */
  steps: number;
  /**
   * Tokens at most of the pieces that training windows are cut into: short ones give more steps for the same tokens. Held-out
   * windows stay whole. From 2.
   */
  pieceLength: number;
  /** Pieces in one step. */
  piecesPerStep: number;
  /** Highest learning rate, as a share of the root mean square of each weight matrix. */
  learningRate: number;
  /** Steps over which the learning rate rises; after them it falls along half a cosine. */
  warmupSteps: number;
  /** How much longer the steps of queries and keys are than those of values and outputs. Without adapters only. */
  scoreStep: number;
  /** Share of itself that a weight loses in a step of size 1. */
  weightDecay: number;
  /** Rank of the adapters (LoRA) that are trained and then merged; 0 trains the matrices themselves. */
  adapterRank: number;
  /** Share of the text's own next token in the target, the rest being the original's distribution; 0 to 1. */
  nextTokenShare: number;
  /** Steps between two looks at the held-out windows, each of which gives a checkpoint. */
  evaluateEvery: number;
  /** Looks without a new best after which training stops. */
  patience: number;
  /** Seed of the order of the windows and of the adapters. */
  seed: number;
}

export type DistillationPreset = 'light' | 'full';

const common = {
  pieceLength: 256,
  piecesPerStep: 1,
  learningRate: 0.001,
  scoreStep: 1,
  weightDecay: 0.01,
  adapterRank: 0,
  nextTokenShare: 0,
  patience: 4,
  seed: 1,
};

/** Sized in tokens: light 65,536, full 299,520. Chosen on held-out calibration text; see docs/log.md. */
export const distillationPresets: Readonly<Record<DistillationPreset, Readonly<DistillationSettings>>> = {
  light: { ...common, steps: 256, warmupSteps: 18, evaluateEvery: 64 },
  full: { ...common, steps: 1170, warmupSteps: 80, evaluateEvery: 195 },
};

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
  const integers = {
    steps: 1,
    pieceLength: 2,
    piecesPerStep: 1,
    evaluateEvery: 1,
    patience: 1,
    warmupSteps: 0,
    adapterRank: 0,
  };
  for (const [name, atLeast] of Object.entries(integers)) {
    const value = settings[name as keyof DistillationSettings];
    expectThat(name, `an integer of at least ${atLeast}`, value, Number.isInteger(value) && value >= atLeast);
  }
  for (const name of ['learningRate', 'scoreStep'] as const) {
    expectThat(name, 'a positive number', settings[name], settings[name] > 0 && Number.isFinite(settings[name]));
  }
  const { weightDecay, nextTokenShare } = settings;
  expectThat('weightDecay', 'a number of at least 0', weightDecay, weightDecay >= 0 && Number.isFinite(weightDecay));
  expectThat('nextTokenShare', 'a share from 0 to 1', nextTokenShare, nextTokenShare >= 0 && nextTokenShare <= 1);
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
