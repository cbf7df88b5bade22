import { expect, it } from 'vitest';
import { defaultSettings, fitSettings, recipeOfSettings, settingsFromQuery } from './settings.ts';

it('takes from the address what fits, and the default for the rest', () => {
  expect(settingsFromQuery('')).toEqual(defaultSettings);
  expect(settingsFromQuery('?repair=none&backend=wasm&tokens=8&calibration=1&window=16&evaluation=1')).toEqual({
    ...defaultSettings,
    repair: 'none',
    backend: 'wasm',
    newTokens: 8,
    calibrationWindows: 1,
    windowLength: 16,
    evaluationWindows: 1,
  });
  expect(settingsFromQuery('?repair=all&backend=cpu&tokens=0&calibration=65&window=1.5&evaluation=')).toEqual(
    defaultSettings,
  );
});

it('becomes a recipe whose windows the model has positions for', () => {
  const recipe = recipeOfSettings(fitSettings(defaultSettings, { maxPositionEmbeddings: 128 }));
  expect(recipe).toMatchObject({
    keyValueHeads: { keep: 0.5 },
    headWidth: 'auto',
    calibration: { windows: 16, windowLength: 128 },
    recovery: { preset: 'refit', windowLength: 128 },
  });
});
