import type { CompressionRequest } from '@kvlr/pipeline';
import type { DemoSettings, KeptShare } from './demo-settings.ts';

export const keptShares: Readonly<Record<KeptShare, number>> = { half: 0.5, quarter: 0.25 };

/** Reconstruction short enough to wait for: fewer and shorter windows, fewer steps than the preset 'light'. */
const shortRepair = { steps: 16, trainingWindows: 8, warmupSteps: 3, evaluateEvery: 8 };

/** The recipe that the page runs: kvlr's own method, on less text. */
export function recipeOfSettings(settings: DemoSettings): NonNullable<CompressionRequest['recipe']> {
  const { keep, repair, calibrationWindows, windowLength } = settings;
  return {
    keyValueHeads: { keep: keptShares[keep] },
    calibration: { windows: calibrationWindows, windowLength },
    recovery: {
      preset: repair === 'short' ? 'light' : repair,
      windowLength,
      ...(repair === 'short' ? shortRepair : {}),
    },
    // The page runs the weights in F32, so nothing is to be rounded.
    dtype: 'F32',
    evaluation: { windowsPerSource: 2, windowLength: windowLength + 1 },
  };
}
