import type { CompressionRequest } from '@kvlr/pipeline';

/** What follows the closed forms: nothing, a refit of the output projections, or a light block reconstruction. */
export type Repair = 'none' | 'refit' | 'light';

/** What a visitor may choose, on the page or in its address. */
export interface DemoSettings {
  /** Share of the KV cache that the visitor's own compression keeps. */
  keep: number;
  repair: Repair;
  backend: 'auto' | 'webgpu' | 'wasm';
  /** Tokens that each model writes. */
  newTokens: number;
  /** Windows of calibration text that the statistics are gathered on. */
  calibrationWindows: number;
  /** Tokens of a window, in calibration, repair and evaluation. */
  windowLength: number;
  /** Windows of each source of held-out text that a result is evaluated on. */
  evaluationWindows: number;
}

export const defaultSettings: Readonly<DemoSettings> = {
  keep: 1 / 2,
  repair: 'refit',
  backend: 'auto',
  newTokens: 64,
  calibrationWindows: 16,
  windowLength: 256,
  evaluationWindows: 2,
};

/**
 * Settings from the page's address, such as `?backend=wasm&tokens=8`. What is missing or does not fit takes its default.
 * `calibration`, `window` and `evaluation` make the work small enough for a slow machine.
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
    keep: defaultSettings.keep,
    repair: choice('repair', ['none', 'refit', 'light'], defaultSettings.repair),
    backend: choice('backend', ['auto', 'webgpu', 'wasm'], defaultSettings.backend),
    newTokens: whole('tokens', 1, 512, defaultSettings.newTokens),
    calibrationWindows: whole('calibration', 1, 64, defaultSettings.calibrationWindows),
    windowLength: whole('window', 16, 512, defaultSettings.windowLength),
    evaluationWindows: whole('evaluation', 1, 24, defaultSettings.evaluationWindows),
  };
}

/** Settings whose windows a model has positions for. */
export function fitSettings<Settings extends Pick<DemoSettings, 'windowLength'>>(
  settings: Settings,
  { maxPositionEmbeddings }: { maxPositionEmbeddings: number },
): Settings {
  return { ...settings, windowLength: Math.min(settings.windowLength, maxPositionEmbeddings) };
}

/** The recipe that the page runs: what `kvlr compress --head-width auto` does, on less text. */
export function recipeOfSettings(settings: DemoSettings): NonNullable<CompressionRequest['recipe']> {
  const { keep, repair, calibrationWindows: windows, windowLength } = settings;
  return {
    keyValueHeads: { keep },
    headWidth: 'auto',
    calibration: { windows, windowLength },
    recovery: { preset: repair, windowLength, trainingWindows: 2 * windows, heldOutWindows: 2 },
    // The page measures by itself, codec by codec: see evaluate-codecs.ts.
    evaluation: { windowsPerSource: 1, windowLength: 17 },
  };
}
