import { type Matrix, multiply } from '@kvlr/linalg';
import type { GroupFactors } from '../ports.ts';

/**
 * The same key factors in another gauge: each frequency pair of the shared key is scaled, which RoPE allows, to the mean
 * energy that this pair has in the heads. Keeps the new weights in the range of the old ones.
 */
export function normalizePairs({ encoder, decoders }: GroupFactors, moment: Matrix): GroupFactors {
  const headDim = encoder.rows;
  const half = headDim / 2;
  const encodedRows = multiply(encoder, moment);
  const encodedEnergy = (row: number) => {
    let sum = 0;
    for (let c = 0; c < encoder.cols; c++) {
      sum += encoder.data[row * encoder.cols + c]! * encodedRows.data[row * encoder.cols + c]!;
    }
    return sum;
  };
  const sourceEnergy = (row: number) => {
    let sum = 0;
    for (let place = row; place < moment.rows; place += headDim) sum += moment.data[place * (moment.cols + 1)]!;
    return sum / decoders.length;
  };
  const scales = Array.from({ length: half }, (_, j) => {
    const ratio = (sourceEnergy(j) + sourceEnergy(j + half)) / (encodedEnergy(j) + encodedEnergy(j + half));
    return ratio > 0 && Number.isFinite(ratio) ? Math.sqrt(ratio) : 1;
  });
  return {
    encoder: {
      ...encoder,
      data: encoder.data.map((value, index) => value * scales[Math.floor(index / encoder.cols) % half]!),
    },
    decoders: decoders.map((decoder) => ({
      ...decoder,
      data: decoder.data.map((value, index) => value / scales[index % half]!),
    })),
  };
}
