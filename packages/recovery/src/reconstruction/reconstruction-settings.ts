import { type DecoderShape, KvlrError } from '@kvlr/core';

export interface ReconstructionSettings {
  /** Whether the output projection is moved to its least-squares optimum, in closed form, before and after the steps. */
  refitOutput: boolean;
  /** Adam steps per layer, of one whose held-out error is at most 1; 0 leaves it at the closed form. */
  steps: number;
  /**
   * Highest learning rate, as a share of the root mean square of each weight matrix, for a block whose held-out error is 1. The
   * rate goes with the root of the error that the steps begin with: a block that is nearly right needs small steps. Beyond 1 it goes
   * down with the root, and the number of steps with the error: most of it comes with what the block reads.
   */
  learningRate: number;
  /** Steps over which the learning rate rises. */
  warmupSteps: number;
  /** Calibration windows in one step. */
  windowsPerStep: number;
  /** Steps between two looks at the held-out windows. */
  evaluateEvery: number;
  /** Seed of the order of the windows. */
  seed: number;
  /** How much longer the steps of queries and keys are than those of values and outputs. Default 2. */
  scoreStep?: number;
}

export type ReconstructionPreset = 'refit' | 'light' | 'full';

/**
 * Settings chosen on held-out calibration text of two models; docs/log.md has the experiments. What limits the result is
 * text, not the optimiser: every step sees several windows, and few windows are seen often.
 */
export const reconstructionPresets: Readonly<Record<ReconstructionPreset, Readonly<ReconstructionSettings>>> = {
  refit: {
    refitOutput: true,
    steps: 0,
    learningRate: 0.025,
    warmupSteps: 0,
    windowsPerStep: 4,
    evaluateEvery: 24,
    seed: 1,
  },
  light: {
    refitOutput: true,
    steps: 48,
    learningRate: 0.025,
    warmupSteps: 5,
    windowsPerStep: 4,
    evaluateEvery: 24,
    seed: 1,
  },
  full: {
    refitOutput: true,
    steps: 400,
    learningRate: 0.04,
    warmupSteps: 40,
    windowsPerStep: 4,
    evaluateEvery: 100,
    seed: 1,
    scoreStep: 1,
  },
};

/** A preset with changes, checked. Throws 'invalid-argument'. */
export function resolveReconstructionSettings(
  preset: ReconstructionPreset,
  changes: Partial<ReconstructionSettings> = {},
): ReconstructionSettings {
  const base = reconstructionPresets[preset];
  if (base === undefined) {
    throw new KvlrError('invalid-argument', {
      message: `expected refit, light or full, got ${String(preset)}`,
      where: { argument: 'preset' },
      data: { preset },
    });
  }
  const settings = { ...base, ...changes };
  for (const name of ['windowsPerStep', 'evaluateEvery'] as const) requireInteger(name, settings[name], 1);
  for (const name of ['steps', 'warmupSteps'] as const) requireInteger(name, settings[name], 0);
  if (!(settings.learningRate > 0 && Number.isFinite(settings.learningRate))) {
    throw wrongSetting('learningRate', 'a positive number', settings.learningRate);
  }
  const { scoreStep = 1 } = settings;
  if (!(scoreStep > 0 && Number.isFinite(scoreStep))) throw wrongSetting('scoreStep', 'a positive number', scoreStep);
  return settings;
}

/** Whether the output projection is refitted: where what the block gives is added to the stream as it is. */
export function refitsOutput(
  { refitOutput }: Pick<ReconstructionSettings, 'refitOutput'>,
  { blocks }: Pick<DecoderShape, 'blocks'>,
): boolean {
  return refitOutput && blocks.after === 'none' && blocks.residual === 'stream';
}

/** Whether native code can train the blocks: where their targets are sums that it sees. */
export function trainsNatively({ blocks }: Pick<DecoderShape, 'blocks'>): boolean {
  return blocks.after !== 'stream' && blocks.residual === 'stream';
}

/** Whether a refit is all that is done: nothing but output projections changes. */
export function refitsAlone(
  settings: Pick<ReconstructionSettings, 'refitOutput' | 'steps'>,
  shape: Pick<DecoderShape, 'blocks'>,
): boolean {
  return settings.steps === 0 && refitsOutput(settings, shape);
}

function requireInteger(name: string, value: number, atLeast: number): void {
  if (!Number.isInteger(value) || value < atLeast) throw wrongSetting(name, `an integer of at least ${atLeast}`, value);
}

function wrongSetting(name: string, expected: string, received: number): KvlrError {
  return new KvlrError('invalid-argument', {
    message: `expected ${expected}, got ${received}`,
    where: { argument: name },
    data: { setting: name, received },
  });
}
