import { type GraphBuilder, type OnnxAttribute, plainTensor } from '@kvlr/checkpoint/onnx';
import { type Activation, type DecoderShape, type NormShape, normOfRole, type TensorRole } from '@kvlr/core';

/** The roles of a decoder's norms. */
export type NormRole =
  | 'embeddingNorm'
  | 'attentionNorm'
  | 'attentionOutputNorm'
  | 'feedForwardNorm'
  | 'feedForwardOutputNorm'
  | 'finalNorm';

/** The operations of a decoder on values of a graph, each by its name; weights are inputs of the graph, called by their roles. */
export class DecoderOperations {
  private nodes = 0;
  private readonly constants = new Set<string>();

  constructor(
    private readonly graph: GraphBuilder,
    private readonly shape: DecoderShape,
    /** Weights that the graph has. */
    private readonly weights: ReadonlySet<TensorRole>,
    /** Matrices among them that are given as [in, out], as training holds them; the others are [out, in], as files do. */
    private readonly turned: ReadonlySet<string> = new Set(),
  ) {}

  /** A node of one output, which stands for its result. */
  node(operator: string, inputs: string[], attributes: Record<string, OnnxAttribute> = {}, domain?: 'com.microsoft') {
    const settings = { attributes, ...(domain && { domain }) };
    return this.graph.node(`${operator}_${this.nodes++}`, operator, inputs, settings);
  }

  /** A weight that may be missing. */
  weight(role: TensorRole): string | undefined {
    return this.weights.has(role) ? role : undefined;
  }

  reshape(x: string, sizes: number[]): string {
    return this.node('Reshape', [x, this.integers(sizes)]);
  }

  transpose(x: string, order: number[]): string {
    return this.node('Transpose', [x], { perm: { integers: order } });
  }

  /** x [rows, in] times a matrix [in, out], however it is given, plus a bias [out] where there is one. */
  affine(x: string, matrix: string, bias?: string): string {
    const attributes = { transB: { integer: this.turned.has(matrix) ? 0 : 1 } };
    return this.node('Gemm', bias === undefined ? [x, matrix] : [x, matrix, bias], attributes);
  }

  /** Products of the matrices in the last two axes, either of them transposed. */
  product(left: string, right: string, { transA = false, transB = false }): string {
    const attributes = { transA: { integer: Number(transA) }, transB: { integer: Number(transB) } };
    return this.node('FusedMatMul', [left, right], attributes, 'com.microsoft');
  }

  /** Sums or means over one axis, which stays with length 1 unless told otherwise. */
  reduce(operator: 'ReduceSum' | 'ReduceMean', x: string, axis: number, keep = true): string {
    return this.node(operator, [x, this.integers([axis])], { keepdims: { integer: Number(keep) } });
  }

  /** One of a layer's projections, with its bias. */
  project(x: string, projection: 'query' | 'key' | 'value' | 'output' | 'gate' | 'up' | 'down'): string {
    return this.affine(x, `${projection}Weight`, this.weight(`${projection}Bias`));
  }

  /** x times a factor, where it is not 1. */
  scaled(x: string, factor: number): string {
    return factor === 1 ? x : this.node('Mul', [x, this.float(factor)]);
  }

  /** x becomes cap * tanh(x / cap), where there is a cap (Gemma 2, arXiv 2408.00118). */
  softCapped(x: string, cap: number | undefined): string {
    return cap === undefined ? x : this.scaled(this.node('Tanh', [this.scaled(x, 1 / cap)]), cap);
  }

  clipped(x: string, limit: number | undefined): string {
    return limit === undefined ? x : this.node('Clip', [x, this.float(-limit), this.float(limit)]);
  }

  /**
   * Norm over the last axis, of `width` numbers: of the root mean square (Zhang and Sennrich 2019), or of mean and deviation (Ba et
   * al. 2016); times a scale [width] and plus a bias [width], where there are any.
   */
  norm(x: string, { kind, epsilon }: NormShape, width: number, scale?: string, bias?: string): string {
    const attributes = { epsilon: { float: epsilon }, axis: { integer: -1 } };
    const operator = kind === 'layer' ? 'LayerNormalization' : 'SimplifiedLayerNormalization';
    const normed = this.node(operator, [x, scale ?? this.ones(width)], attributes);
    return bias === undefined ? normed : this.node('Add', [normed, bias]);
  }

  /** One of the decoder's norms of its stream; the stream itself where the decoder has no norm there. */
  normByRole(x: string, role: NormRole): string {
    const norm = normOfRole(this.shape, role);
    if (norm === undefined) return x;
    return this.norm(x, norm, this.shape.hiddenSize, this.weight(role), this.weight(`${role}Bias`));
  }

  /** The feed-forward block's nonlinearity, element by element. */
  activate(x: string, activation: Activation): string {
    switch (activation) {
      case 'silu':
        return this.node('Mul', [x, this.node('Sigmoid', [x])]);
      case 'gelu':
        return this.node('Gelu', [x], {}, 'com.microsoft');
      case 'gelu_pytorch_tanh':
        return this.node('FastGelu', [x], {}, 'com.microsoft');
      case 'relu':
        return this.node('Relu', [x]);
    }
  }

  integers(values: number[]): string {
    const name = `integers ${values}`;
    return this.once(name, () => this.graph.integers(name, values));
  }

  float(value: number): string {
    const name = `float ${value}`;
    return this.once(name, () => this.floats(name, [], Float32Array.of(value)));
  }

  private ones(width: number): string {
    const name = `ones ${width}`;
    return this.once(name, () => this.floats(name, [width], new Float32Array(width).fill(1)));
  }

  private floats(name: string, shape: number[], values: Float32Array): string {
    return this.graph.tensor(plainTensor(name, 'F32', shape, async () => values));
  }

  private once(name: string, add: () => string): string {
    if (this.constants.has(name)) return name;
    this.constants.add(name);
    return add();
  }
}
