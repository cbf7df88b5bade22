import { rmsNormGradient, rmsNormKernel } from '@kvlr/kernels';
import {
  add,
  broadcast_util,
  cast,
  div,
  exp,
  type GradFunc,
  getGradient,
  greaterEqual,
  lessEqual,
  logicalAnd,
  matMul,
  mean,
  mul,
  neg,
  ones,
  pad,
  registerGradient,
  reshape,
  rsqrt,
  square,
  step,
  sub,
  sum,
  type Tensor,
  transpose,
  util,
} from '@tensorflow/tfjs-core';

interface GradientFunction {
  inputsToSave?: string[];
  outputsToSave?: boolean[];
  gradFunc: GradFunc;
}

/** Gradient of an op with one input, which most kernels name x. */
function unary(
  save: Pick<GradientFunction, 'inputsToSave' | 'outputsToSave'>,
  gradient: (dy: Tensor, saved: Tensor, attributes: Record<string, unknown>) => Tensor,
  inputName = 'x',
): GradientFunction {
  return {
    ...save,
    gradFunc: (dy, saved, attributes) => ({
      [inputName]: () => gradient(dy as Tensor, saved[0]!, attributes as Record<string, unknown>),
    }),
  };
}

/** Gradient of an elementwise op of a and b, which may have been broadcast against each other. */
function binary(
  toA: (dy: Tensor, a: Tensor, b: Tensor) => Tensor,
  toB: (dy: Tensor, a: Tensor, b: Tensor) => Tensor,
): GradientFunction {
  return {
    inputsToSave: ['a', 'b'],
    gradFunc: (dy, [a, b]) => ({
      a: () => sumToShape(toA(dy as Tensor, a!, b!), a!.shape),
      b: () => sumToShape(toB(dy as Tensor, a!, b!), b!.shape),
    }),
  };
}

function sumToShape(gradient: Tensor, shape: number[]): Tensor {
  const axes = broadcast_util.getReductionAxes(shape, gradient.shape);
  return reshape(axes.length > 0 ? sum(gradient, axes) : gradient, shape);
}

/** dy of a reduction, spread over x; `share` of it to each element. */
function spread(dy: Tensor, x: Tensor, axis: unknown, share: (count: number) => number): Tensor {
  const axes = util.parseAxisParam((axis ?? null) as number[], x.shape);
  const kept = x.shape.map((size, index) => (axes.includes(index) ? 1 : size));
  return mul(mul(reshape(dy, kept), share(x.size / dy.size)), ones(x.shape));
}

const input = { inputsToSave: ['x'] };
const output = { outputsToSave: [true] };

/** Gradients of the kernels that the blocks and usual losses are made of, by kernel name. y is the kernel's result. */
const gradientFunctions: Record<string, GradientFunction> = {
  Add: binary(
    (dy) => dy,
    (dy) => dy,
  ),
  Sub: binary(
    (dy) => dy,
    (dy) => neg(dy),
  ),
  Multiply: binary(
    (dy, _, b) => mul(dy, b),
    (dy, a) => mul(dy, a),
  ),
  RealDiv: binary(
    (dy, _, b) => div(dy, b),
    (dy, a, b) => neg(div(mul(dy, a), square(b))),
  ),
  SquaredDifference: binary(
    (dy, a, b) => mul(dy, mul(sub(a, b), 2)),
    (dy, a, b) => mul(dy, mul(sub(b, a), 2)),
  ),
  Square: unary(input, (dy, x) => mul(dy, mul(x, 2))),
  Sqrt: unary(output, (dy, y) => div(dy, mul(y, 2))),
  Rsqrt: unary(output, (dy, y) => mul(mul(dy, -0.5), mul(y, square(y)))),
  [rmsNormKernel]: {
    inputsToSave: ['x', 'scale'],
    gradFunc: (dy, [x, scale], attributes) => {
      const { epsilon } = attributes as unknown as { epsilon: number };
      const [arriving, rows] = [dy as Tensor, x!];
      return {
        x: () => rmsNormGradient(arriving, rows, scale!, epsilon),
        scale: () => {
          const roots = rsqrt(add(mean(square(rows), -1, true), epsilon));
          return sumToShape(mul(mul(arriving, rows), roots), scale!.shape);
        },
      };
    },
  },
  Exp: unary(output, (dy, y) => mul(dy, y)),
  Log: unary(input, (dy, x) => div(dy, x)),
  Neg: unary({}, (dy) => neg(dy)),
  Sigmoid: unary(output, (dy, y) => mul(dy, mul(y, sub(1, y)))),
  Relu: unary(input, (dy, x) => mul(dy, step(x))),
  ClipByValue: unary(input, (dy, x, { clipValueMin, clipValueMax }) => {
    const within = logicalAnd(greaterEqual(x, clipValueMin as number), lessEqual(x, clipValueMax as number));
    return mul(dy, cast(within, 'float32'));
  }),
  Tanh: unary(output, (dy, y) => mul(dy, sub(1, square(y)))),
  Erf: unary(input, (dy, x) => mul(dy, mul(exp(neg(square(x))), 2 / Math.sqrt(Math.PI)))),
  Identity: unary({}, (dy) => dy.clone()),
  Cast: unary({}, (dy) => dy.clone()),
  Reshape: unary(input, (dy, x) => reshape(dy, x.shape)),
  ExpandDims: unary({ inputsToSave: ['input'] }, (dy, x) => reshape(dy, x.shape), 'input'),
  Transpose: unary({}, (dy, _, { perm }) => transpose(dy, inversePermutation(perm as number[]))),
  Sum: unary(input, (dy, x, { axis }) => spread(dy, x, axis, () => 1)),
  Mean: unary(input, (dy, x, { axis }) => spread(dy, x, axis, (count) => 1 / count)),
  Slice: unary(input, (dy, x, { begin }) =>
    pad(
      dy,
      (begin as number[]).map((start, axis) => [start, x.shape[axis]! - start - dy.shape[axis]!] as [number, number]),
    ),
  ),
  Softmax: {
    outputsToSave: [true],
    gradFunc: (dy, [y]) => ({
      logits: () => {
        const weighted = mul(dy as Tensor, y!);
        return sub(weighted, mul(sum(weighted, -1, true), y!));
      },
    }),
  },
  LogSoftmax: {
    outputsToSave: [true],
    gradFunc: (dy, [y]) => ({
      logits: () => sub(dy as Tensor, mul(sum(dy as Tensor, -1, true), exp(y!))),
    }),
  },
  BatchMatMul: {
    inputsToSave: ['a', 'b'],
    gradFunc: (gradient, [a, b], attributes) => {
      const dy = gradient as Tensor;
      const { transposeA, transposeB } = attributes as unknown as { transposeA: boolean; transposeB: boolean };
      return {
        a: () => (transposeA ? matMul(b!, dy, transposeB, true) : matMul(dy, b!, false, !transposeB)),
        b: () => (transposeB ? matMul(dy, a!, true, transposeA) : matMul(a!, dy, !transposeA, false)),
      };
    },
  },
};

function inversePermutation(permutation: number[]): number[] {
  const inverse = permutation.slice();
  permutation.forEach((from, to) => {
    inverse[from] = to;
  });
  return inverse;
}

/**
 * Makes the blocks differentiable. The entry of tfjs-core registers no gradients, and its file that registers them all
 * cannot be imported in Node. Gradients that a program has registered before are left alone.
 */
export function registerGradients(): void {
  for (const [kernelName, gradient] of Object.entries(gradientFunctions)) {
    if (getGradient(kernelName) == null) registerGradient({ kernelName, ...gradient });
  }
}
