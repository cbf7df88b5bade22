import { add, matMul, type Tensor1D, type Tensor2D } from '@tensorflow/tfjs-core';

/** x W + bias, x [rows, in], weight [in, out]. */
export function project(x: Tensor2D, weight: Tensor2D, bias?: Tensor1D): Tensor2D {
  const product: Tensor2D = matMul(x, weight);
  return bias === undefined ? product : add(product, bias);
}
