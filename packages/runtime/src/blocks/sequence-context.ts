import { alibiPenalty, type DecoderShape, type PositionShape } from '@kvlr/core';
import { ropeFrequencies } from '@kvlr/rope';
import {
  add,
  keep,
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
const HIDDEN_SCORE = -1e9;

/** How the heads of some tokens are rotated by their positions (Su et al. 2021). */
export interface Rotation {
  /** cos and sin of position times frequency, for every number of a head, [batch, positions, 1, headDim]; of batch 1 for all. */
  readonly cosine: Tensor;
  readonly sine: Tensor;
  /** Takes each pair (x1, x2) to (-x2, x1), and what is not rotated to 0, by a product from the right, [headDim, headDim]. */
  readonly quarterTurn: Tensor2D;
}

/** What one layer's attention knows of positions. */
interface LayerContext {
  /** Absent without rotary positions. */
  readonly rotation?: Rotation | undefined;
  /** Added to the scores: zero where a token may look, else a large negative number, [1, 1, tokens, tokens]. */
  readonly mask: Tensor4D;
  /** With ALiBi: added to the scores of each key, [1, numAttentionHeads, 1, tokens]. */
  readonly penalties?: Tensor4D | undefined;
}

/** What the attention blocks share for one stretch of tokens: rotations by position, and who sees whom. */
export interface SequenceContext {
  readonly batch: number;
  readonly tokens: number;
  readonly layers: readonly LayerContext[];
  dispose(): void;
}

export interface SequenceContextSettings {
  shape: DecoderShape;
  /** Windows side by side. */
  batch: number;
  /** Tokens of each window, at positions from 0. */
  tokens: number;
}

/** Builds the rotation tables and masks of whole windows on the active backend. The caller disposes the context. */
export function createSequenceContext({ shape, batch, tokens }: SequenceContextSettings): SequenceContext {
  const positions = [Array.from({ length: tokens }, (_, place) => place)];
  const tables = new PositionTables(shape.headDim, [tokens]);
  const layers = shape.layers.map((layer): LayerContext => {
    return {
      rotation: tables.rotation('tokens', layer.positions, positions),
      mask: tables.mask(layer.window, positions, positions),
      penalties: tables.penalties(layer.positions, positions),
    };
  });
  return { batch, tokens, layers, dispose: () => tables.dispose() };
}

/** Tables of positions on the active backend, each made once for all layers that are alike in it. */
export class PositionTables {
  private readonly headDim: number;
  private readonly lengths: readonly number[];
  private readonly made = new Map<string, Tensor>();

  /** @param lengths Tokens of each sequence, the newest included: some tables depend on it. */
  constructor(headDim: number, lengths: readonly number[]) {
    this.headDim = headDim;
    this.lengths = lengths;
  }

  /**
   * The rotation of the tokens at these positions of each sequence. Undefined without rotary positions.
   *
   * @param name Tells positions of one kind from others.
   */
  rotation(name: string, shape: PositionShape, positions: readonly (readonly number[])[]): Rotation | undefined {
    if (shape.kind !== 'rope') return undefined;
    const { headDim, lengths } = this;
    const { rope, rotaryDim, pairs } = shape;
    const key = JSON.stringify([name, rope, rotaryDim, pairs]);
    const columns = pairOfColumns(rotaryDim, pairs);
    const table = (part: string, of: (angle: number) => number, rest: number) =>
      this.once(`${part} ${key}`, () => {
        const count = positions[0]!.length;
        const values = new Float32Array(positions.length * count * headDim).fill(rest);
        positions.forEach((ofSequence, sequence) => {
          const settings = { sequenceLength: lengths[sequence]! };
          const { frequencies, attentionFactor } = ropeFrequencies(rope, rotaryDim, settings);
          ofSequence.forEach((position, place) => {
            const start = (sequence * count + place) * headDim;
            columns.forEach((pair, column) => {
              values[start + column] = attentionFactor * of(position * frequencies[pair]!);
            });
          });
        });
        return tensor(values, [positions.length, count, 1, headDim]);
      });
    return {
      cosine: table('cosine', Math.cos, 1),
      sine: table('sine', Math.sin, 0),
      quarterTurn: this.once(`turn ${rotaryDim} ${pairs}`, () => quarterTurn(headDim, rotaryDim, pairs)) as Tensor2D,
    };
  }

  /**
   * Who of the queries at these positions of each sequence sees which keys, as what is added to scores, [batch, 1, queries, keys].
   * Keys at negative positions are none. `sinks`: leading keys that every later query sees, whatever the window.
   */
  mask(
    window: number | undefined,
    queries: readonly (readonly number[])[],
    keys: readonly (readonly number[])[],
    cacheWindow: { window: number; sinks: number } = { window: 0, sinks: 0 },
  ): Tensor4D {
    const ofLayer = window ?? Number.POSITIVE_INFINITY;
    const ofCache = cacheWindow.window > 0 ? cacheWindow.window : Number.POSITIVE_INFINITY;
    return this.once(`mask ${window}`, () => {
      const sizes = [queries.length, 1, queries[0]!.length, keys[0]!.length];
      const values = new Float32Array(sizes.reduce((product, size) => product * size, 1));
      let place = 0;
      queries.forEach((ofSequence, sequence) => {
        for (const query of ofSequence) {
          for (const key of keys[sequence]!) {
            const distance = query - key;
            const kept = distance < ofCache || key < cacheWindow.sinks;
            const seen = key >= 0 && distance >= 0 && distance < ofLayer && kept;
            values[place++] = seen ? 0 : HIDDEN_SCORE;
          }
        }
      });
      return tensor(values, sizes);
    }) as Tensor4D;
  }

  /**
   * ALiBi (Press et al. 2022): what is added to the scores of keys at these positions, [batch, numAttentionHeads, 1, keys]. It is
   * counted from the newest token, since softmax knows differences only.
   */
  penalties(shape: PositionShape, keys: readonly (readonly number[])[]): Tensor4D | undefined {
    if (shape.kind !== 'alibi') return undefined;
    const { slopes } = shape;
    return this.once(`penalties ${slopes}`, () => {
      const count = keys[0]!.length;
      const values = keys.flatMap((positions, sequence) => {
        const newest = this.lengths[sequence]! - 1;
        return slopes.flatMap((slope) => {
          const penalty = alibiPenalty(slope, shape);
          return positions.map((position) => penalty(position, newest));
        });
      });
      return tensor(values, [keys.length, slopes.length, 1, count]);
    }) as Tensor4D;
  }

  dispose(): void {
    for (const table of this.made.values()) table.dispose();
    this.made.clear();
  }

  private once(key: string, make: () => Tensor): Tensor {
    // Of use beyond the tidy in which it is first asked for.
    const made = this.made.get(key) ?? keep(make());
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
 * Rotates [batch, positions, heads, headDim] by the angles of its positions; without a rotation it stays as it is. The quarter turn
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
