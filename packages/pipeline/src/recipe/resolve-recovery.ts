import type { Recipe } from '@kvlr/core/schemas';
import { type ReconstructionPreset, type ReconstructionSettings, resolveReconstructionSettings } from '@kvlr/recovery';

/** Block reconstruction with every number written out. */
export interface ResolvedRecovery {
  preset: ReconstructionPreset;
  /** Windows of calibration text that are trained on, those that decide when a layer is done, and their tokens. */
  trainingWindows: number;
  heldOutWindows: number;
  windowLength: number;
  settings: ReconstructionSettings;
}

const windowsOfPreset = {
  light: { trainingWindows: 24, heldOutWindows: 4 },
  full: { trainingWindows: 128, heldOutWindows: 8 },
} as const;

/**
 * A recipe's recovery with its preset filled in; undefined for 'none'.
 *
 * @throws KvlrError 'invalid-argument' for settings that cannot be.
 */
export function resolveRecovery(recovery: Recipe['recovery']): ResolvedRecovery | undefined {
  const { preset, trainingWindows, heldOutWindows, windowLength, distillation: _, ...changes } = recovery;
  if (preset === 'none') return undefined;
  const given = Object.entries(changes).filter(([, value]) => value !== undefined);
  return {
    preset,
    trainingWindows: trainingWindows ?? windowsOfPreset[preset].trainingWindows,
    heldOutWindows: heldOutWindows ?? windowsOfPreset[preset].heldOutWindows,
    windowLength,
    settings: resolveReconstructionSettings(preset, Object.fromEntries(given)),
  };
}
