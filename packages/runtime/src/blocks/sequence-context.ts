import type { ModelShape } from '@kvlr/core';
import { ropeFrequencies } from '@kvlr/rope';
import { type Tensor2D, type Tensor3D, tensor2d, tensor3d } from '@tensorflow/tfjs-core';

/** Added to the scores of positions that a token may not see; its exponential is exactly zero in float32. */
const HIDDEN_SCORE = -1e9;

export interface SequenceContextSettings {
  shape: ModelShape;
  /** Windows side by side. */
  batch: number;
  /** New tokens per window. */
  tokens: number;
  /** Position of the first new token. Default 0. */
  firstPosition?: number;
  /** Positions that the attended keys hold, the cache's capacity. Default firstPosition + tokens. */
  keyPositions?: number;
}

/** What the attention blocks of all layers share for one stretch of tokens: the rotation by position, and who sees whom. */
export interface SequenceContext {
  readonly batch: number;
  readonly tokens: number;
  /** cos and sin of position times frequency, both halves alike, [tokens, 1, headDim]. */
  readonly cosine: Tensor3D;
  readonly sine: Tensor3D;
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
  const frequencies = ropeFrequencies(shape.rope, headDim);
  const cosines = new Float32Array(tokens * headDim);
  const sines = new Float32Array(tokens * headDim);
  const hidden = new Float32Array(tokens * keyPositions);
  for (let token = 0; token < tokens; token++) {
    const position = firstPosition + token;
    for (let column = 0; column < headDim; column++) {
      const angle = position * frequencies[column % half]!;
      cosines[token * headDim + column] = Math.cos(angle);
      sines[token * headDim + column] = Math.sin(angle);
    }
    hidden.fill(HIDDEN_SCORE, token * keyPositions + position + 1, (token + 1) * keyPositions);
  }
  const turn = new Float32Array(headDim * headDim);
  for (let column = 0; column < half; column++) {
    turn[(column + half) * headDim + column] = -1;
    turn[column * headDim + column + half] = 1;
  }
  const cosine = tensor3d(cosines, [tokens, 1, headDim]);
  const sine = tensor3d(sines, [tokens, 1, headDim]);
  const quarterTurn = tensor2d(turn, [headDim, headDim]);
  const mask = tensor2d(hidden, [tokens, keyPositions]);
  return {
    batch,
    tokens,
    cosine,
    sine,
    quarterTurn,
    mask,
    dispose() {
      for (const part of [cosine, sine, quarterTurn, mask]) part.dispose();
    },
  };
}
