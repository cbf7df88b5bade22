import {
  add,
  cast,
  clipByValue,
  div,
  erf,
  exp,
  expandDims,
  grad,
  log,
  logSoftmax,
  matMul,
  mean,
  mul,
  neg,
  relu,
  reshape,
  rsqrt,
  type Scalar,
  sigmoid,
  slice,
  softmax,
  sqrt,
  square,
  squaredDifference,
  sub,
  sum,
  type Tensor,
  type Tensor2D,
  tanh,
  tensor2d,
  tidy,
  transpose,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { selectBackend } from './select-backend.ts';

const weights = [0.3, -0.8, 0.5, 1.1, -0.4, 0.9, 0.2, -0.6, 0.7, 0.1, -1.2, 0.4];
const point = [0.9, 1.4, 0.6, 1.1, 0.5, 1.3, 0.8, 1.2, 0.7, 1.5, 1.05, 0.65];
const constant = () => tensor2d(weights, [3, 4]);

/** Each maps x [3, 4] to a tensor whose weighted sum is differentiated. */
const functions: Record<string, (x: Tensor2D) => Tensor> = {
  'Add and Sub, broadcast': (x) => sub(add(x, slice(x, [0, 0], [1, 4])), slice(x, [0, 1], [3, 1])),
  'Multiply, broadcast': (x) => mul(x, slice(x, [1, 0], [1, 4])),
  RealDiv: (x) => div(constant(), add(x, slice(x, [0, 2], [3, 1]))),
  'SquaredDifference, Mean': (x) => squaredDifference(x, mean(x, 0)),
  'Square, Sqrt, Rsqrt': (x) => mul(sqrt(x), rsqrt(add(square(x), 1))),
  'Exp, Log, Neg': (x) => mul(exp(neg(x)), log(x)),
  'Sigmoid, Tanh, Erf': (x) => add(mul(sigmoid(x), tanh(x)), erf(x)),
  'Relu, ClipByValue': (x) => add(relu(sub(x, 0.95)), clipByValue(square(x), 0.6, 1.5)),
  'Softmax, Sum': (x) => mul(softmax(mul(x, x)), sum(x, 1, true)),
  LogSoftmax: (x) => logSoftmax(square(x)),
  'Reshape, ExpandDims, Transpose, Cast': (x) =>
    transpose(reshape(cast(expandDims(square(x), 1), 'float32'), [2, 2, 3]), [2, 0, 1]),
  'BatchMatMul a b': (x) => matMul(matMul(x, transpose(x)), x),
  "BatchMatMul a' b": (x) => matMul(x, matMul(x, square(x), true, false)),
  "BatchMatMul a b'": (x) => matMul(matMul(x, square(x), false, true), x),
  "BatchMatMul a' b'": (x) => matMul(x, matMul(x, square(x), false, true), true, true),
};

// The formulas are the same on every backend; on WebGPU the blocks' test runs those that the decoder needs.
describe.each(['cpu', 'wasm'] as const)('gradients on %s', (backend) => {
  beforeAll(async () => {
    await selectBackend({ backend });
  });

  it.each(Object.entries(functions))('%s agrees with finite differences', async (_, apply) => {
    const loss = (x: Tensor): Scalar => {
      const y = apply(x as Tensor2D);
      return sum(mul(reshape(y, [3, 4]), constant()));
    };
    const gradient = tidy(() => grad(loss)(tensor2d(point, [3, 4])));
    const received = await gradient.data();
    gradient.dispose();
    const step = 1e-2;
    const evaluate = async (index: number, shift: number): Promise<number> => {
      const value = tidy(() =>
        loss(
          tensor2d(
            point.map((x, i) => (i === index ? x + shift : x)),
            [3, 4],
          ),
        ),
      );
      const [number] = await value.data();
      value.dispose();
      return number!;
    };
    for (const index of point.keys()) {
      const slope = ((await evaluate(index, step)) - (await evaluate(index, -step))) / (2 * step);
      expect(Math.abs(received[index]! - slope)).toBeLessThan(2e-3 * Math.max(1, Math.abs(slope)));
    }
  });
});
