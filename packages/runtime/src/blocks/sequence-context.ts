import type { DecoderShape, PositionShape } from '@kvlr/core';
import { ropeFrequencies } from '@kvlr/rope';
import {
  add,
  matMul,
  mul,
  reshape,
  type Tensor,
  type Tensor2D,
  type Tensor4D,
  tensor,
  tensor2d,
} from '@tensorflow/tfjs-core';

/** Added to the scores of positions that a token may not see; its exponential is exactly zero in float32. */
export const HIDDEN_SCORE = -1e9;

export interface SequenceContextSettings {
  shape: DecoderShape;
  /** Windows side by side. */
  batch: number;
  /** Tokens of each window, at positions from 0. */
  tokens: number;
}

/** How the heads of some tokens are rotated by their positions (Su et al. 2021). */
export interface Rotation {
  /** cos and sin of position times frequency, for every number of a head, [..., positions, 1, headDim]. */
  readonly cosine: Tensor;
  readonly sine: Tensor;
  /** Takes each pair (x1, x2) to (-x2, x1), and what is not rotated to 0, by a product from the right, [headDim, headDim]. */
  readonly quarterTurn: Tensor2D;
}

/** What one layer's attention knows of positions. */
export interface LayerContext {
  /** Absent without rotary positions. */
  readonly rotation?: Rotation | undefined;
  /**
   * Added to the scores, [tokens, tokens], with ALiBi [numAttentionHeads, tokens, tokens]: a large negative number where a token may
   * not look, else the distance's penalty or zero.
   */
  readonly mask: Tensor;
}

/** What the attention blocks share for one stretch of tokens: rotations by position, and who sees whom. */
export interface SequenceContext {
  readonly batch: number;
  readonly tokens: number;
  readonly layers: readonly LayerContext[];
  dispose(): void;
}

/** Builds the rotation tables and masks of whole windows on the active backend. The caller disposes the context. */
export function createSequenceContext({ shape, batch, tokens }: SequenceContextSettings): SequenceContext {
  const places = Array.from({ length: tokens }, (_, place) => place);
  const tables = new PositionTables(shape.headDim);
  const layers = shape.layers.map(({ positions, window }): LayerContext => {
    return {
      rotation: tables.rotation(positions, places, [tokens], tokens),
      mask: tables.mask(positions, window, places, places),
    };
  });
  return { batch, tokens, layers, dispose: () => tables.dispose() };
}

/** Tables of positions on the active backend, each made once for all layers that are alike in it. */
export class PositionTables {
  private readonly headDim: number;
  private readonly made = new Map<string, Tensor>();

  constructor(headDim: number) {
    this.headDim = headDim;
  }

  /**
   * The rotation of tokens at these positions, arranged as `dimensions`, in a text of `length` tokens, on which some tables depend.
   * Undefined without rotary positions.
   */
  rotation(
    shape: PositionShape,
    positions: readonly number[],
    dimensions: readonly number[],
    length: number,
  ): Rotation | undefined {
    if (shape.kind !== 'rope') return undefined;
    const { headDim } = this;
    const { rope, rotaryDim, pairs } = shape;
    const key = JSON.stringify([rope, rotaryDim, pairs]);
    const columns = pairOfColumns(rotaryDim, pairs);
    const { frequencies, attentionFactor } = ropeFrequencies(rope, rotaryDim, { sequenceLength: length });
    const table = (name: string, of: (angle: number) => number, rest: number) =>
      this.once(`${name} ${key} ${length} ${positions}`, () => {
        const values = new Float32Array(positions.length * headDim).fill(rest);
        positions.forEach((position, place) => {
          columns.forEach((pair, column) => {
            values[place * headDim + column] = attentionFactor * of(position * frequencies[pair]!);
          });
        });
        return tensor(values, [...dimensions, 1, headDim]);
      });
    return {
      cosine: table('cosine', Math.cos, 1),
      sine: table('sine', Math.sin, 0),
      quarterTurn: this.once(`turn ${rotaryDim} ${pairs}`, () => quarterTurn(headDim, rotaryDim, pairs)) as Tensor2D,
    };
  }

  /** Who of the tokens at `from` sees whom at `to`, as what is added to scores, [(heads,) from, to]. */
  mask(shape: PositionShape, window: number | undefined, from: readonly number[], to: readonly number[]): Tensor {
    const slopes = shape.kind === 'alibi' ? shape.slopes : [0];
    return this.once(`mask ${window} ${slopes} ${from} ${to}`, () => {
      const values = new Float32Array(slopes.length * from.length * to.length);
      let place = 0;
      for (const slope of slopes) {
        for (const query of from) {
          for (const key of to) {
            const seen = key <= query && (window === undefined || key > query - window);
            values[place++] = seen ? slope * (key - query) : HIDDEN_SCORE;
          }
        }
      }
      const sizes = [from.length, to.length];
      return tensor(values, shape.kind === 'alibi' ? [slopes.length, ...sizes] : sizes);
    });
  }

  dispose(): void {
    for (const table of this.made.values()) table.dispose();
    this.made.clear();
  }

  private once(key: string, make: () => Tensor): Tensor {
    const made = this.made.get(key) ?? make();
    this.made.set(key, made);
    return made;
  }
}

/** The pair that each of the rotated numbers of a head belongs to. */
function pairOfColumns(rotaryDim: number, pairs: 'half-split' | 'interleaved'): number[] {
  const half = rotaryDim / 2;
  return Array.from({ length: rotaryDim }, (_, column) =>
    pairs === 'half-split' ? column % half : Math.floor(column / 2),
  );
}

function quarterTurn(headDim: number, rotaryDim: number, pairs: 'half-split' | 'interleaved'): Tensor2D {
  const turn = new Float32Array(headDim * headDim);
  const half = rotaryDim / 2;
  for (let pair = 0; pair < half; pair++) {
    const [first, second] = pairs === 'half-split' ? [pair, pair + half] : [2 * pair, 2 * pair + 1];
    turn[second * headDim + first] = -1;
    turn[first * headDim + second] = 1;
  }
  return tensor2d(turn, [headDim, headDim]);
}

/**
 * Rotates [..., positions, heads, headDim] by the angles of its positions; without a rotation it stays as it is. The quarter turn
 * is a product with a signed permutation: exact, differentiable, and on every backend cheaper than cutting the heads in halves and
 * joining them again.
 */
export function rotate(x: Tensor4D, rotation: Rotation | undefined): Tensor4D {
  if (rotation === undefined) return x;
  const { cosine, sine, quarterTurn } = rotation;
  const headDim = x.shape[3];
  const turned = reshape(matMul(reshape(x, [x.size / headDim, headDim]), quarterTurn), x.shape);
  return add(mul(x, cosine), mul(turned, sine));
}
