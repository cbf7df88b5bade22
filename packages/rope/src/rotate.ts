import { KvlrError } from '@kvlr/core';
import { type HeadRowsShape, requireHeadRows } from './head-rows.ts';

export interface RotationSettings extends HeadRowsShape {
  /** Radians per position, [headDim / 2], from `ropeFrequencies`. */
  frequencies: Float64Array;
  /** Position of the first row; 0 when left out. */
  firstPosition?: number;
}

/**
 * Rotary position embedding of queries or keys in half-split layout (the `rotate_half` of transformers): the pair
 * (x[j], x[j + headDim / 2]) of the token at position n is turned by the angle n * frequencies[j].
 * `rows` is [tokens, heads * headDim]; returns a new array of the same type. Throws KvlrError 'invalid-argument'.
 */
export function rotate<Rows extends Float32Array | Float64Array>(rows: Rows, settings: RotationSettings): Rows {
  return turn('rotate', rows, settings, 1);
}

/** The inverse of `rotate` at the same settings. Throws KvlrError 'invalid-argument'. */
export function unrotate<Rows extends Float32Array | Float64Array>(rows: Rows, settings: RotationSettings): Rows {
  return turn('unrotate', rows, settings, -1);
}

function turn<Rows extends Float32Array | Float64Array>(
  functionName: string,
  rows: Rows,
  settings: RotationSettings,
  direction: 1 | -1,
): Rows {
  requireHeadRows(functionName, settings, rows.length);
  const { tokens, heads, headDim, frequencies, firstPosition = 0 } = settings;
  const pairs = headDim / 2;
  if (frequencies.length !== pairs) {
    throw new KvlrError('invalid-argument', {
      message: `${functionName}: expected ${pairs} frequencies for heads of width ${headDim}, got ${frequencies.length}`,
      data: { headDim, frequencies: frequencies.length },
    });
  }
  const result = rows.slice() as Rows;
  const cosines = new Float64Array(pairs);
  const sines = new Float64Array(pairs);
  for (let token = 0; token < tokens; token += 1) {
    for (let j = 0; j < pairs; j += 1) {
      const angle = (firstPosition + token) * frequencies[j]!;
      cosines[j] = Math.cos(angle);
      sines[j] = direction * Math.sin(angle);
    }
    for (let head = 0; head < heads; head += 1) {
      const offset = (token * heads + head) * headDim;
      for (let j = 0; j < pairs; j += 1) {
        const x = rows[offset + j]!;
        const y = rows[offset + pairs + j]!;
        result[offset + j] = x * cosines[j]! - y * sines[j]!;
        result[offset + pairs + j] = x * sines[j]! + y * cosines[j]!;
      }
    }
  }
  return result;
}
