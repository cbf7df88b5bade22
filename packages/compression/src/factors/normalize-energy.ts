import { type Matrix, multiply } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';

/**
 * The same factors in another gauge: encoder times s, decoders divided by s, so that the shared head's mean energy per
 * component is that of the heads it stands for. Keeps the new weights in the range of the old ones, which F16, int8 and
 * gradient steps like; what the factors compute does not change.
 */
export function normalizeEnergy({ encoder, decoders }: GroupFactors, moment: Matrix): GroupFactors {
  const scale = energyScale(encoder, moment);
  return {
    encoder: { ...encoder, data: encoder.data.map((value) => value * scale) },
    decoders: decoders.map((decoder) => ({ ...decoder, data: decoder.data.map((value) => value / scale) })),
  };
}

/** The encoder alone times s: what it gives has the energy of what it was given, and the decoders stay what they are. */
export function normalizeEncoder(encoder: Matrix, moment: Matrix): Matrix {
  const scale = energyScale(encoder, moment);
  return { ...encoder, data: encoder.data.map((value) => value * scale) };
}

/** s, or 1 where there is no energy. */
function energyScale(encoder: Matrix, moment: Matrix): number {
  const encodedRows = multiply(encoder, moment);
  const encodedEnergy =
    encoder.data.reduce((sum, value, index) => sum + value * encodedRows.data[index]!, 0) / encoder.rows;
  let energy = 0;
  for (let index = 0; index < moment.rows; index++) energy += moment.data[index * (moment.cols + 1)]! / moment.rows;
  return encodedEnergy > 0 && energy > 0 ? Math.sqrt(energy / encodedEnergy) : 1;
}
