import type { Recipe } from '@kvlr/core/schemas';
import { type DistillationPreset, type DistillationSettings, resolveDistillationSettings } from '@kvlr/recovery';
import { resolveRecovery } from './resolve-recovery.ts';

/** Distillation with every number written out. */
export interface ResolvedDistillation {
  preset: DistillationPreset;
  /** Windows of calibration text that are trained on, at most; those that decide which values are taken; their tokens. */
  trainingWindows: number;
  heldOutWindows: number;
  windowLength: number;
  settings: DistillationSettings;
}

/**
 * A recipe's distillation with its preset filled in; undefined where the recipe has none. The windows held out are those
 * that the reconstruction did not train on either.
 *
 * @throws KvlrError 'invalid-argument' for settings that cannot be.
 */
export function resolveDistillation(recovery: Recipe['recovery']): ResolvedDistillation | undefined {
  if (recovery.distillation === undefined) return undefined;
  const { preset, trainingWindows, heldOutWindows, windowLength, ...changes } = recovery.distillation;
  const given = Object.entries(changes).filter(([, value]) => value !== undefined);
  const settings = resolveDistillationSettings(preset, { ...Object.fromEntries(given), seed: recovery.seed });
  const piecesPerWindow = Math.ceil(windowLength / settings.pieceLength);
  return {
    preset,
    trainingWindows: trainingWindows ?? Math.ceil((settings.steps * settings.piecesPerStep) / piecesPerWindow),
    heldOutWindows: heldOutWindows ?? resolveRecovery(recovery)?.heldOutWindows ?? 8,
    windowLength,
    settings,
  };
}
