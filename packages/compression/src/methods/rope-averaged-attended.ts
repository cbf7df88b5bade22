import type { CompressionMethod } from '../ports.ts';
import { attendedValueFactors } from '../values/attended-value-factors.ts';
import { ropeAveraged } from './rope-averaged.ts';

export const ropeAveragedAttended: CompressionMethod = {
  ...ropeAveraged,
  title: 'RoPE-averaged, attended values',
  description:
    'Keys as in rope-averaged; values fitted to what each query head attends to, in a second pass over the text',
  source: 'kvlr: alternating least squares on averaged scores, and on the output of attended values',
  needsAttendedMoments: true,
  values: attendedValueFactors,
};
