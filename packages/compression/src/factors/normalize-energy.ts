import { type Matrix, multiply } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';

/**
 * The same factors in another gauge: encoder times s, decoders divided by s, so that the shared head's mean energy per
 * component is that of the heads it stands for. Keeps the new weights in the range of the old ones, which F16, int8 and
 * gradient steps like; what the factors compute does not change.
 */
export function normalizeEnergy(factors: GroupFactors, moment: Matrix): GroupFactors {
  const { encoder, decoders } = factors;
  const encodedRows = multiply(encoder, moment);
  const encodedEnergy =
    encoder.data.reduce((sum, value, index) => sum + value * encodedRows.data[index]!, 0) / encoder.rows;
  let energy = 0;
  for (let index = 0; index < moment.rows; index++) energy += moment.data[index * (moment.cols + 1)]! / moment.rows;
  if (!(encodedEnergy > 0 && energy > 0)) return factors;
  const scale = Math.sqrt(energy / encodedEnergy);
  return {
    encoder: { ...encoder, data: encoder.data.map((value) => value * scale) },
    decoders: decoders.map((decoder) => ({ ...decoder, data: decoder.data.map((value) => value / scale) })),
  };
}
