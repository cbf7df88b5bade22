import type { DecoderShape } from '@kvlr/core';
import { ropeFrequencies } from '@kvlr/rope';
import { type Tensor2D, type Tensor3D, tensor2d, tensor3d } from '@tensorflow/tfjs-core';

/** Added to the scores of positions that a token may not see; its exponential is exactly zero in float32. */
const HIDDEN_SCORE = -1e9;

export interface SequenceContextSettings {
  shape: DecoderShape;
  /** Windows side by side. */
  batch: number;
  /** New tokens per window. */
  tokens: number;
  /** Position of the first new token. Default 0. */
  firstPosition?: number;
  /** Positions that the attended keys hold, the cache's capacity. Default firstPosition + tokens. */
  keyPositions?: number;
}

/** cos and sin of position times frequency, both halves of a head alike, [positions, 1, headDim]. */
export interface Rotation {
  readonly cosine: Tensor3D;
  readonly sine: Tensor3D;
}

/** What the attention blocks of all layers share for one stretch of tokens: the rotation by position, and who sees whom. */
export interface SequenceContext extends Rotation {
  readonly batch: number;
  readonly tokens: number;
  /** The rotation of every key position, where a layer rebuilds its keys; `cosine` and `sine` are those of the new tokens. */
  readonly keyRotation?: Rotation;
  /** Takes (x1, x2) to (-x2, x1) by a product from the right, [headDim, headDim]. */
  readonly quarterTurn: Tensor2D;
  /** Zero where the token may look, a large negative number where not, [tokens, keyPositions]. */
  readonly mask: Tensor2D;
  dispose(): void;
}

/** Builds the rotation tables and the causal mask on the active backend. The caller disposes the context. */
export function createSequenceContext(settings: SequenceContextSettings): SequenceContext {
  const { shape, batch, tokens, firstPosition = 0 } = settings;
  const keyPositions = settings.keyPositions ?? firstPosition + tokens;
  const { headDim } = shape;
  const half = headDim / 2;
  const hidden = new Float32Array(tokens * keyPositions);
  for (let token = 0; token < tokens; token++) {
    hidden.fill(HIDDEN_SCORE, token * keyPositions + firstPosition + token + 1, (token + 1) * keyPositions);
  }
  const turn = new Float32Array(headDim * headDim);
  for (let column = 0; column < half; column++) {
    turn[(column + half) * headDim + column] = -1;
    turn[column * headDim + column + half] = 1;
  }
  const { cosine, sine } = createRotation(shape, firstPosition, tokens);
  const rebuilds = shape.layers.some(({ keys }) => keys === 'rebuilt');
  const keyRotation = rebuilds ? createRotation(shape, 0, keyPositions) : undefined;
  const quarterTurn = tensor2d(turn, [headDim, headDim]);
  const mask = tensor2d(hidden, [tokens, keyPositions]);
  return {
    batch,
    tokens,
    cosine,
    sine,
    quarterTurn,
    mask,
    ...(keyRotation && { keyRotation }),
    dispose() {
      for (const part of [cosine, sine, quarterTurn, mask, keyRotation?.cosine, keyRotation?.sine]) part?.dispose();
    },
  };
}

function createRotation({ rope, headDim }: DecoderShape, firstPosition: number, positions: number): Rotation {
  const frequencies = ropeFrequencies(rope, headDim);
  const cosines = new Float32Array(positions * headDim);
  const sines = new Float32Array(positions * headDim);
  for (let place = 0; place < positions; place++) {
    for (let column = 0; column < headDim; column++) {
      const angle = (firstPosition + place) * frequencies[column % frequencies.length]!;
      cosines[place * headDim + column] = Math.cos(angle);
      sines[place * headDim + column] = Math.sin(angle);
    }
  }
  return {
    cosine: tensor3d(cosines, [positions, 1, headDim]),
    sine: tensor3d(sines, [positions, 1, headDim]),
  };
}
