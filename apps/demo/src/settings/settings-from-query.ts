import { type DemoSettings, defaultSettings } from './demo-settings.ts';

/**
 * Settings from the page's address, such as `?keep=quarter&recovery=none&backend=wasm&tokens=8`. What is missing or does
 * not fit takes its default. `calibration`, `window` and `judged` make the work small enough for a
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
    judgedWindows: whole('judged', 1, 24, defaultSettings.judgedWindows),
  };
}
