import { expect, it } from 'vitest';
import { reconstructionPresets, resolveReconstructionSettings } from './reconstruction-settings.ts';

it('takes a preset with changes', () => {
  expect(resolveReconstructionSettings('full')).toEqual(reconstructionPresets.full);
  expect(resolveReconstructionSettings('light', { steps: 3 })).toEqual({ ...reconstructionPresets.light, steps: 3 });
});

it.each([
  ['steps', -1],
  ['steps', 1.5],
  ['windowsPerStep', 0],
  ['learningRate', 0],
  ['learningRate', Number.NaN],
  ['scoreStep', 0],
] as const)('refuses %s of %d', (setting, received) => {
  expect(() => resolveReconstructionSettings('full', { [setting]: received })).toThrowError(
    expect.objectContaining({ code: 'invalid-argument', data: { setting, received } }),
  );
});

it('refuses an unknown preset', () => {
  expect(() => resolveReconstructionSettings('medium' as 'full')).toThrowError(
    /preset: expected refit, light or full, got medium/,
  );
});
