import type { LayerStatistics } from '@kvlr/core';

/** Names of the arrays of `LayerStatistics`: each is a mean over the layer's tokens. */
export const momentFields = [
  'inputSecondMoment',
  'inputMean',
  'keySecondMoment',
  'keyMean',
  'rotatedKeySecondMoment',
  'rotatedKeyMean',
  'valueSecondMoment',
  'valueMean',
  'querySecondMoment',
  'rotatedQuerySecondMoment',
  'attendedSecondMoment',
  'attendedMean',
] as const satisfies readonly (keyof LayerStatistics)[];

export type MomentField = (typeof momentFields)[number];
