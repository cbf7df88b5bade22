import { add, div, mul, type Scalar, square, sub, sum, type Tensor2D, tidy } from '@tensorflow/tfjs-core';
import type { PieceRows } from './piece-rows.ts';

/**
 * `weight` times the squared distance of a student's stream from the original's over the rows that count, as a share of the
 * original's energy there, and its gradient to the student's stream. The caller disposes both.
 */
export function hiddenGradient(
  student: Tensor2D,
  original: Tensor2D,
  { counted }: Pick<PieceRows, 'counted'>,
  weight: number | Scalar,
): { loss: Scalar; gradient: Tensor2D } {
  return tidy(() => {
    const distance: Tensor2D = mul(sub(student, original), counted);
    const energy: Scalar = add(sum(square(mul(original, counted))), 1e-30);
    return {
      loss: mul(div(sum(square(distance)), energy), weight) as Scalar,
      gradient: mul(div(distance, energy), mul(weight, 2)) as Tensor2D,
    };
  });
}
