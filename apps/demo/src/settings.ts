import type { CompressionRequest } from '@kvlr/pipeline';

/** How much of the KV cache the compressed model keeps. */
export type KeptShare = 'half' | 'quarter';

/** How the closed forms are repaired afterwards: not at all, briefly, or as `kvlr compress --recover light` does. */
export type Repair = 'none' | 'short' | 'light';

/** What a visitor may choose, on the page or in its address. */
export interface DemoSettings {
  keep: KeptShare;
  repair: Repair;
  backend: 'auto' | 'webgpu' | 'wasm';
  /** Tokens that each model writes. */
  newTokens: number;
  /** Windows of calibration text that the statistics are gathered on. */
  calibrationWindows: number;
  /** Tokens of a window, in calibration, repair and evaluation. */
  windowLength: number;
  /** Windows of each source of held-out text that both models are evaluated on. */
  evaluationWindows: number;
}

export const defaultSettings: Readonly<DemoSettings> = {
  keep: 'half',
  repair: 'short',
  backend: 'auto',
  newTokens: 120,
  calibrationWindows: 16,
  windowLength: 256,
  evaluationWindows: 2,
};

/**
 * Settings from the page's address, such as `?keep=quarter&recovery=none&backend=wasm&tokens=8`. What is missing or does
 * not fit takes its default. `calibration`, `window` and `evaluation` make the work small enough for a
 * slow machine.
 */
export function settingsFromQuery(query: string): DemoSettings {
  const parameters = new URLSearchParams(query);
  const choice = <Value extends string>(name: string, values: readonly Value[], otherwise: Value): Value =>
    values.find((value) => value === parameters.get(name)) ?? otherwise;
  const whole = (name: string, least: number, most: number, otherwise: number): number => {
    const text = parameters.get(name) ?? '';
    const value = Number(text);
    return text !== '' && Number.isInteger(value) && value >= least && value <= most ? value : otherwise;
  };
  return {
    keep: choice('keep', ['half', 'quarter'], defaultSettings.keep),
    repair: choice('recovery', ['none', 'short', 'light'], defaultSettings.repair),
    backend: choice('backend', ['auto', 'webgpu', 'wasm'], defaultSettings.backend),
    newTokens: whole('tokens', 1, 512, defaultSettings.newTokens),
    calibrationWindows: whole('calibration', 1, 64, defaultSettings.calibrationWindows),
    windowLength: whole('window', 16, 512, defaultSettings.windowLength),
    evaluationWindows: whole('evaluation', 1, 24, defaultSettings.evaluationWindows),
  };
}

const keptShares: Readonly<Record<KeptShare, number>> = { half: 0.5, quarter: 0.25 };

/** Reconstruction short enough to wait for: fewer steps on less text than the preset 'light'. */
const shortRepair = { steps: 20, trainingWindows: 20, heldOutWindows: 2, evaluateEvery: 20 };

/** The recipe that the page runs: kvlr's own method, on less text. */
export function recipeOfSettings(settings: DemoSettings): NonNullable<CompressionRequest['recipe']> {
  const { keep, repair, calibrationWindows, windowLength, evaluationWindows } = settings;
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
    evaluation: { windowsPerSource: evaluationWindows, windowLength: windowLength + 1 },
  };
}
