import { expect, it } from 'vitest';
import { defaultSettings, settingsFromQuery } from './settings.ts';

it('takes what the address says', () => {
  const query = '?keep=quarter&recovery=none&backend=webgpu&tokens=8&calibration=2&window=64&evaluation=1';
  expect(settingsFromQuery(query)).toEqual({
    keep: 'quarter',
    repair: 'none',
    backend: 'webgpu',
    newTokens: 8,
    calibrationWindows: 2,
    windowLength: 64,
    evaluationWindows: 1,
  });
});

it.each(['', '?keep=third&backend=cpu&recovery=full', '?tokens=0&window=1e9&calibration=', '?tokens=2.5&window=x'])(
  'takes the defaults where %j does not fit',
  (query) => expect(settingsFromQuery(query)).toEqual(defaultSettings),
);
