import type { OnnxNode } from '@kvlr/checkpoint/onnx';
import { KvlrError } from '@kvlr/core';
import type { DecoderOperations } from './operations.ts';

/** What a rule is asked: a node, the gradient to its result, and which of its inputs want one. */
interface Backward {
  operations: DecoderOperations;
  node: OnnxNode;
  gradient: string;
  wants(input: number): boolean;
  /** A gradient to an input that may be a weight, of the last axes: over all other axes its sum. */
  summed(input: number, gradient: string): string;
}

/** The gradients to a node's inputs, by their places; undefined for those that want none. */
type Rule = (backward: Backward) => (string | undefined)[];

/**
 * Gradients of a value of a graph, as further nodes (reverse mode, Linnainmaa 1970). Nodes are visited from the last; what an input gets from
 * several is added up. Of sums and products both sides have one shape, or one of them is wanted itself and repeats along the first axes.
 *
 * @param nodes Those that make the value, in the order in which they run.
 * @param upstream Name of the gradient to the value, of its shape.
 * @returns Names of the gradients by those of the values that are wanted.
 * @throws KvlrError 'unsupported-feature' for an operator without a rule between the value and what is wanted.
 */
export function gradientNodes(
  operations: DecoderOperations,
  nodes: readonly OnnxNode[],
  { value, upstream, wanted }: { value: string; upstream: string; wanted: readonly string[] },
): Map<string, string> {
  const weights = new Set(wanted);
  const depending = new Set(wanted);
  for (const { inputs, outputs } of nodes) {
    if (inputs.some((name) => depending.has(name))) for (const name of outputs) depending.add(name);
  }
  const gradients = new Map([[value, upstream]]);
  for (const node of [...nodes].reverse()) {
    const gradient = gradients.get(node.outputs[0]!);
    if (gradient === undefined || !depending.has(node.outputs[0]!)) continue;
    const wants = (input: number) => depending.has(node.inputs[input]!);
    const summed = (input: number, found: string) => {
      const name = node.inputs[input]!;
      return weights.has(name) ? sumOfRows(operations, found, name) : found;
    };
    for (const [place, found] of ruleOf(node)({ operations, node, gradient, wants, summed }).entries()) {
      if (found === undefined) continue;
      const name = node.inputs[place]!;
      const before = gradients.get(name);
      gradients.set(name, before === undefined ? found : operations.node('Add', [before, found]));
    }
  }
  return new Map(wanted.map((name) => [name, gradients.get(name)!]));
}

/** Sums of the rows that a tensor stands for, of its shape. */
function sumOfRows(operations: DecoderOperations, x: string, like: string): string {
  const sizes = [operations.integers([-1]), operations.node('Shape', [like])];
  const rows = operations.node('Reshape', [x, operations.node('Concat', sizes, { axis: { integer: 0 } })]);
  return operations.reduce('ReduceSum', rows, 0, false);
}

function ruleOf({ operator }: OnnxNode): Rule {
  const rule = rules[operator];
  if (rule !== undefined) return rule;
  throw new KvlrError('unsupported-feature', {
    message: `expected an operator with a gradient, got ${operator}`,
    hint: 'Train with --engine tfjs.',
    data: { operator },
  });
}

const rules: { readonly [operator: string]: Rule } = {
  Identity: ({ gradient }) => [gradient],
  Add: ({ gradient, wants, summed }) => [0, 1].map((input) => (wants(input) ? summed(input, gradient) : undefined)),
  Mul: ({ operations, node: { inputs }, gradient, wants, summed }) =>
    [0, 1].map((input) =>
      wants(input) ? summed(input, operations.node('Mul', [gradient, inputs[1 - input]!])) : undefined,
    ),
  Gemm: gemm,
  MatMul: ({ operations, node: { inputs }, gradient, wants }) => [
    wants(0) ? operations.product(gradient, inputs[1]!, { transB: true }) : undefined,
    wants(1) ? operations.product(inputs[0]!, gradient, { transA: true }) : undefined,
  ],
  Reshape: ({ operations, node: { inputs }, gradient }) => [
    operations.node('Reshape', [gradient, operations.node('Shape', [inputs[0]!])]),
  ],
  Transpose: ({ operations, node: { attributes }, gradient }) => {
    const { integers: order } = attributes.perm as { integers: number[] };
    return [
      operations.transpose(
        gradient,
        [...order.keys()].map((axis) => order.indexOf(axis)),
      ),
    ];
  },
  Softmax: ({ operations, node: { outputs }, gradient }) => {
    const weighted = operations.node('Mul', [gradient, outputs[0]!]);
    const total = operations.node('Mul', [outputs[0]!, operations.reduce('ReduceSum', weighted, -1)]);
    return [operations.node('Sub', [weighted, total])];
  },
  /** A rotation goes back by the same angle. */
  RotaryEmbedding: ({ operations, node: { inputs, attributes }, gradient }) => {
    const [, position, cosine, sine] = inputs as [string, string, string, string];
    const back = [gradient, position, cosine, operations.node('Neg', [sine])];
    return [operations.node('RotaryEmbedding', back, attributes, 'com.microsoft')];
  },
  SimplifiedLayerNormalization: (backward) => normGradients(backward, backward.node.inputs[0]!),
  LayerNormalization: (backward) => {
    const { operations, node } = backward;
    const [x] = node.inputs as [string];
    const centred = operations.node('Sub', [x, operations.reduce('ReduceMean', x, -1)]);
    const [found, scale] = normGradients(backward, centred);
    return [operations.node('Sub', [found!, operations.reduce('ReduceMean', found!, -1)]), scale];
  },
  Sigmoid: ({ operations, node: { outputs }, gradient }) => {
    const [y] = outputs as [string];
    const slope = operations.node('Mul', [y, operations.node('Sub', [operations.float(1), y])]);
    return [operations.node('Mul', [gradient, slope])];
  },
  Tanh: ({ operations, node: { outputs }, gradient }) => {
    const [y] = outputs as [string];
    const slope = operations.node('Sub', [operations.float(1), operations.node('Mul', [y, y])]);
    return [operations.node('Mul', [gradient, slope])];
  },
  Relu: ({ operations, node: { outputs }, gradient }) => [
    operations.node('Mul', [gradient, operations.node('Sign', [outputs[0]!])]),
  ],
  /** Only what lies within the limits moves. */
  Clip: ({ operations, node: { inputs }, gradient }) => {
    const [x, , most] = inputs as [string, string, string];
    const inside = operations.node('Less', [operations.node('Abs', [x]), most]);
    return [operations.node('Where', [inside, gradient, operations.float(0)])];
  },
  Gelu: ({ operations, node: { inputs }, gradient }) => {
    const [x] = inputs as [string];
    const half = operations.scaled(operations.node('Erf', [operations.scaled(x, Math.SQRT1_2)]), 0.5);
    const share = operations.node('Add', [half, operations.float(0.5)]);
    const bell = operations.node('Exp', [operations.scaled(operations.node('Mul', [x, x]), -0.5)]);
    const density = operations.scaled(operations.node('Mul', [x, bell]), 1 / Math.sqrt(2 * Math.PI));
    return [operations.node('Mul', [gradient, operations.node('Add', [share, density])])];
  },
  FastGelu: fastGelu,
};

/** x [rows, in] times a matrix [out, in], or [in, out], plus a bias [out]. */
function gemm({ operations, node: { inputs, attributes }, gradient, wants }: Backward): (string | undefined)[] {
  const [x, matrix] = inputs as [string, string];
  const turned = (attributes.transB as { integer: number } | undefined)?.integer !== 1;
  const flag = (name: 'transA' | 'transB') => ({ [name]: { integer: 1 } });
  const toMatrix = () => operations.node('Gemm', turned ? [x, gradient] : [gradient, x], flag('transA'));
  return [
    wants(0) ? operations.node('Gemm', [gradient, matrix], turned ? flag('transB') : {}) : undefined,
    wants(1) ? toMatrix() : undefined,
    inputs.length > 2 && wants(2) ? operations.reduce('ReduceSum', gradient, 0, false) : undefined,
  ];
}

/**
 * Through x / sqrt(mean(x^2) + epsilon) times a scale: with the normed x as n and g as the scaled gradient, (g - n mean(g n)) over that root;
 * and to the scale.
 *
 * @param x What is divided: of layer norms, with the mean taken off.
 */
function normGradients({ operations, node, gradient, wants, summed }: Backward, x: string): (string | undefined)[] {
  const { float: epsilon } = node.attributes.epsilon as { float: number };
  const squares = operations.reduce('ReduceMean', operations.node('Mul', [x, x]), -1);
  const root = operations.node('Sqrt', [operations.node('Add', [squares, operations.float(epsilon)])]);
  const normed = operations.node('Div', [x, root]);
  const scaled = operations.node('Mul', [gradient, node.inputs[1]!]);
  const along = operations.reduce('ReduceMean', operations.node('Mul', [scaled, normed]), -1);
  const across = operations.node('Sub', [scaled, operations.node('Mul', [normed, along])]);
  const toScale = wants(1) ? summed(1, operations.node('Mul', [gradient, normed])) : undefined;
  return [operations.node('Div', [across, root]), toScale];
}

/** Of x / 2 (1 + tanh u), u = sqrt(2 / pi) (x + 0.044715 x^3) (Hendrycks and Gimpel 2016). */
function fastGelu({ operations, node: { inputs }, gradient }: Backward): (string | undefined)[] {
  const [x] = inputs as [string];
  const [factor, cubic] = [Math.sqrt(2 / Math.PI), 0.044715];
  const plusOne = (value: string) => operations.node('Add', [value, operations.float(1)]);
  const square = operations.node('Mul', [x, x]);
  const u = operations.scaled(operations.node('Mul', [x, plusOne(operations.scaled(square, cubic))]), factor);
  const tanh = operations.node('Tanh', [u]);
  const share = operations.scaled(plusOne(tanh), 0.5);
  const slope = operations.node('Sub', [operations.float(1), operations.node('Mul', [tanh, tanh])]);
  const rise = operations.scaled(plusOne(operations.scaled(square, 3 * cubic)), factor / 2);
  const density = operations.node('Mul', [operations.node('Mul', [x, slope]), rise]);
  return [operations.node('Mul', [gradient, operations.node('Add', [share, density])])];
}
