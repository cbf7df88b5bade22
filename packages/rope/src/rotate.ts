import { KvlrError } from '@kvlr/core';
import type { RopeFrequencies } from './rope-frequencies.ts';

/** Rows of numbers per token, heads side by side. */
export interface HeadRowsShape {
  tokens: number;
  heads: number;
  headDim: number;
}

export interface RotationSettings extends HeadRowsShape {
  /**
   * Radians per position, [rotaryDim / 2], from `ropeFrequencies`. The first rotaryDim coordinates of a head rotate, the rest stays as
   * it is.
   */
  frequencies: Float64Array;
  /** Factor of the rotated coordinates, from `ropeFrequencies`; 1 when left out. */
  attentionFactor?: number;
  /**
   * Which two coordinates are pair j: (j, j + rotaryDim / 2), transformers' `rotate_half`, or (2j, 2j + 1) (GPT-J, Cohere). Default
   * 'half-split'.
   */
  pairs?: 'half-split' | 'interleaved';
  /** Position of the first row; 0 when left out. */
  firstPosition?: number;
}

/**
 * Rotary position embedding of queries or keys: pair j of the token at position n is rotated by the angle n * frequencies[j], and
 * multiplied by `attentionFactor`.
 *
 * @param rows [tokens, heads * headDim].
 * @returns A new array of the same type.
 * @throws KvlrError 'invalid-argument' when the sizes do not fit.
 */
export function rotate<Rows extends Float32Array | Float64Array>(rows: Rows, settings: RotationSettings): Rows {
  return rotateBy(rows, settings, 1, settings.attentionFactor ?? 1);
}

/**
 * The inverse of `rotate` at the same settings.
 *
 * @throws KvlrError 'invalid-argument' when the sizes do not fit.
 */
export function unrotate<Rows extends Float32Array | Float64Array>(rows: Rows, settings: RotationSettings): Rows {
  return rotateBy(rows, settings, -1, 1 / (settings.attentionFactor ?? 1));
}

function rotateBy<Rows extends Float32Array | Float64Array>(
  rows: Rows,
  settings: RotationSettings,
  direction: 1 | -1,
  factor: number,
): Rows {
  requireHeadRows(settings, rows.length);
  const { tokens, heads, headDim, frequencies, pairs = 'half-split', firstPosition = 0 } = settings;
  const count = frequencies.length;
  if (2 * count > headDim) {
    throw new KvlrError('invalid-argument', {
      message: `expected at most ${headDim / 2} frequencies for heads of width ${headDim}, got ${count}`,
      data: { headDim, frequencies: count },
    });
  }
  const [step, gap] = pairs === 'half-split' ? [1, count] : [2, 1];
  const result = rows.slice() as Rows;
  const cosines = new Float64Array(count);
  const sines = new Float64Array(count);
  for (let token = 0; token < tokens; token += 1) {
    for (let j = 0; j < count; j += 1) {
      const angle = (firstPosition + token) * frequencies[j]!;
      cosines[j] = factor * Math.cos(angle);
      sines[j] = factor * direction * Math.sin(angle);
    }
    for (let head = 0; head < heads; head += 1) {
      const offset = (token * heads + head) * headDim;
      for (let j = 0; j < count; j += 1) {
        const first = offset + j * step;
        const x = rows[first]!;
        const y = rows[first + gap]!;
        result[first] = x * cosines[j]! - y * sines[j]!;
        result[first + gap] = x * sines[j]! + y * cosines[j]!;
      }
    }
  }
  return result;
}

/** Cosines and sines of n * theta_j, times the attention factor, float32, [positions, rotaryDim / 2] row-major. */
export interface RopeTables {
  cos: Float32Array;
  sin: Float32Array;
}

/**
 * Tables for `positions` consecutive positions from `firstPosition` on. Angles are taken in Float64 and only the results
 * are rounded, so that long contexts do not lose the phase.
 *
 * @throws KvlrError 'invalid-argument' when positions are no counts.
 */
export function ropeTables(rope: RopeFrequencies, positions: number, firstPosition = 0): RopeTables {
  if (!Number.isInteger(positions) || positions < 0 || !Number.isInteger(firstPosition) || firstPosition < 0) {
    throw new KvlrError('invalid-argument', {
      message: `expected positions and firstPosition to be whole numbers >= 0, got ${positions} and ${firstPosition}`,
      data: { positions, firstPosition },
    });
  }
  const { frequencies, attentionFactor } = rope;
  const count = frequencies.length;
  const cos = new Float32Array(positions * count);
  const sin = new Float32Array(positions * count);
  for (let row = 0; row < positions; row += 1) {
    for (let j = 0; j < count; j += 1) {
      const angle = (firstPosition + row) * frequencies[j]!;
      cos[row * count + j] = attentionFactor * Math.cos(angle);
      sin[row * count + j] = attentionFactor * Math.sin(angle);
    }
  }
  return { cos, sin };
}

/** Throws 'invalid-argument' unless headDim is even and `length` numbers make tokens x heads x headDim. */
export function requireHeadRows({ tokens, heads, headDim }: HeadRowsShape, length: number): void {
  requireEvenHeads(heads, headDim);
  if (length !== tokens * heads * headDim) {
    throw new KvlrError('invalid-argument', {
      message: `expected ${tokens} tokens x ${heads} heads x ${headDim} = ${tokens * heads * headDim} numbers, got ${length}`,
      data: { tokens, heads, headDim, length },
    });
  }
}

/** Throws 'invalid-argument' unless heads is a whole number >= 1 and headDim an even one >= 2. */
export function requireEvenHeads(heads: number, headDim: number): void {
  if (!Number.isInteger(heads) || heads < 1 || !Number.isInteger(headDim) || headDim < 2 || headDim % 2 !== 0) {
    throw new KvlrError('invalid-argument', {
      message: `expected at least one head of even width, got ${heads} heads of width ${headDim}`,
      data: { heads, headDim },
    });
  }
}
