import { KvlrError } from '@kvlr/core';

export interface ReconstructionSettings {
  /** Adam steps per layer. */
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
}

export type ReconstructionPreset = 'light' | 'full';

/** Settings chosen on held-out calibration text of the reference model; docs/log.md has the experiments. */
export const reconstructionPresets: Readonly<Record<ReconstructionPreset, Readonly<ReconstructionSettings>>> = {
  light: { steps: 40, learningRate: 0.02, warmupSteps: 4, windowsPerStep: 2, evaluateEvery: 10, patience: 4, seed: 1 },
  full: { steps: 240, learningRate: 0.02, warmupSteps: 12, windowsPerStep: 4, evaluateEvery: 20, patience: 4, seed: 1 },
};

/** A preset with changes, checked. Throws 'invalid-argument'. */
export function resolveReconstructionSettings(
  preset: ReconstructionPreset,
  changes: Partial<ReconstructionSettings> = {},
): ReconstructionSettings {
  const base = reconstructionPresets[preset];
  if (base === undefined) {
    throw new KvlrError('invalid-argument', {
      message: `resolveReconstructionSettings: expected preset light or full, got ${String(preset)}`,
      data: { preset },
    });
  }
  const settings = { ...base, ...changes };
  for (const name of ['steps', 'windowsPerStep', 'evaluateEvery', 'patience'] as const) {
    requirePositive(name, settings[name], true);
  }
  requirePositive('learningRate', settings.learningRate, false);
  return settings;
}

function requirePositive(name: string, value: number, integer: boolean): void {
  if (value > 0 && Number.isFinite(value) && (!integer || Number.isInteger(value))) return;
  throw new KvlrError('invalid-argument', {
    message: `resolveReconstructionSettings: expected ${name} to be a positive ${integer ? 'integer' : 'number'}, got ${value}`,
    data: { setting: name, received: value },
  });
}
