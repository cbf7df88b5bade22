import { KvlrError } from '@kvlr/core';

export interface ReconstructionSettings {
  /** Whether the output projection is moved to its least-squares optimum, in closed form, before and after the steps. */
  refitOutput: boolean;
  /** Adam steps per layer; 0 leaves it at the closed form. */
  steps: number;
  /** Highest learning rate, as a share of the root mean square of each weight matrix. */
  learningRate: number;
  /** Steps over which the learning rate rises. */
  warmupSteps: number;
  /** Calibration windows in one step. */
  windowsPerStep: number;
  /** Steps between two looks at the held-out windows. */
  evaluateEvery: number;
  /** Looks without a new best after which a layer's training stops. */
  patience: number;
  /** Seed of the order of the windows. */
  seed: number;
  /** How much longer the steps of queries and keys are than those of values and outputs. Default 2. */
  scoreStep?: number;
}

export type ReconstructionPreset = 'light' | 'full';

/** Settings chosen on held-out calibration text of the reference model; docs/log.md has the experiments. */
export const reconstructionPresets: Readonly<Record<ReconstructionPreset, Readonly<ReconstructionSettings>>> = {
  light: {
    refitOutput: true,
    steps: 80,
    learningRate: 0.04,
    warmupSteps: 4,
    windowsPerStep: 1,
    evaluateEvery: 40,
    patience: 3,
    seed: 1,
  },
  full: {
    refitOutput: true,
    steps: 320,
    learningRate: 0.04,
    warmupSteps: 16,
    windowsPerStep: 2,
    evaluateEvery: 40,
    patience: 4,
    seed: 1,
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
      message: `expected light or full, got ${String(preset)}`,
      where: { argument: 'preset' },
      data: { preset },
    });
  }
  const settings = { ...base, ...changes };
  for (const name of ['windowsPerStep', 'evaluateEvery', 'patience'] as const) requireInteger(name, settings[name], 1);
  for (const name of ['steps', 'warmupSteps'] as const) requireInteger(name, settings[name], 0);
  if (!(settings.learningRate > 0 && Number.isFinite(settings.learningRate))) {
    throw wrongSetting('learningRate', 'a positive number', settings.learningRate);
  }
  const { scoreStep = 1 } = settings;
  if (!(scoreStep > 0 && Number.isFinite(scoreStep))) throw wrongSetting('scoreStep', 'a positive number', scoreStep);
  return settings;
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
