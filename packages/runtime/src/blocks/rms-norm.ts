import { add, mean, mul, rsqrt, square, type Tensor1D, type Tensor2D } from '@tensorflow/tfjs-core';

/** Root-mean-square norm (Zhang and Sennrich 2019): x / sqrt(mean(x^2) + epsilon) * scale, per row of x [rows, hiddenSize]. */
export function rmsNorm(x: Tensor2D, scale: Tensor1D, epsilon: number): Tensor2D {
  return mul(mul(x, rsqrt(add(mean(square(x), -1, true), epsilon))), scale);
}
