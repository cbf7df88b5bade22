import type { CompressionRequest } from '@kvlr/pipeline';
import type { DemoSettings, KeptShare } from './demo-settings.ts';

const keptShares: Readonly<Record<KeptShare, number>> = { half: 0.5, quarter: 0.25 };

/** Reconstruction short enough to wait for: fewer steps on less text than the preset 'light'. */
const shortRepair = { steps: 20, trainingWindows: 20, heldOutWindows: 2, evaluateEvery: 20 };

/** The recipe that the page runs: kvlr's own method, on less text. */
export function recipeOfSettings(settings: DemoSettings): NonNullable<CompressionRequest['recipe']> {
  const { keep, repair, calibrationWindows, windowLength, judgedWindows } = settings;
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
    evaluation: { windowsPerSource: judgedWindows, windowLength: windowLength + 1 },
  };
}
