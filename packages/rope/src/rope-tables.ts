import { KvlrError } from '@kvlr/core';

/** Cosines and sines of n * theta_j, float32, [positions, headDim / 2] row-major. */
export interface RopeTables {
  cos: Float32Array;
  sin: Float32Array;
}

/**
 * Tables for `positions` consecutive positions from `firstPosition` on. Angles are taken in Float64 and only the results
 * are rounded, so that long contexts do not lose the phase. Throws KvlrError 'invalid-argument'.
 */
export function ropeTables(frequencies: Float64Array, positions: number, firstPosition = 0): RopeTables {
  if (!Number.isInteger(positions) || positions < 0 || !Number.isInteger(firstPosition) || firstPosition < 0) {
    throw new KvlrError('invalid-argument', {
      message: `ropeTables: expected positions and firstPosition to be whole numbers >= 0, got ${positions} and ${firstPosition}`,
      data: { positions, firstPosition },
    });
  }
  const pairs = frequencies.length;
  const cos = new Float32Array(positions * pairs);
  const sin = new Float32Array(positions * pairs);
  for (let row = 0; row < positions; row += 1) {
    for (let j = 0; j < pairs; j += 1) {
      const angle = (firstPosition + row) * frequencies[j]!;
      cos[row * pairs + j] = Math.cos(angle);
      sin[row * pairs + j] = Math.sin(angle);
    }
  }
  return { cos, sin };
}
