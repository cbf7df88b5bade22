import type { Recipe } from '@kvlr/core/schemas';

/** Text of each preset. */
const windowsOfPreset = {
  light: { trainingWindows: 24, heldOutWindows: 4 },
  full: { trainingWindows: 96, heldOutWindows: 8 },
} as const;

/** How many windows block reconstruction trains on, and how many decide when it stops. */
export function reconstructionWindows(
  settings: Recipe['recovery'],
  preset: 'light' | 'full',
): { trainingWindows: number; heldOutWindows: number } {
  return {
    trainingWindows: settings.trainingWindows ?? windowsOfPreset[preset].trainingWindows,
    heldOutWindows: settings.heldOutWindows ?? windowsOfPreset[preset].heldOutWindows,
  };
}
