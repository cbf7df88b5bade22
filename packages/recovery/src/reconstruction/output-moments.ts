import { KvlrError } from '@kvlr/core';
import { createMatrix, innerProduct, type Matrix, multiply, solveRidge, trace } from '@kvlr/linalg';

/** Strengths that are tried, as shares of the mean diagonal of the gram matrix. */
const RIDGES = [1e-4, 1e-3, 1e-2, 1e-1];

/**
 * Second moments, tokens weighted, of the attended values o, times the residual factor, with themselves and with what the stream lacks
 * after the block, r.
 */
export interface OutputMoments {
  /** Weighted sum of o o^T over tokens. */
  gram: Matrix;
  /** Weighted sum of o r^T. */
  lack: Matrix;
  /** Weighted sum of |r|^2. */
  energy: number;
}

/**
 * Outputs by which a strength is chosen, evenly spread over those there are: what lambda does, it does to all of them alike, and a wide
 * layer is solved for all of its outputs once, not for every strength.
 */
const OUTPUTS_LOOKED_AT = 256;

/**
 * The change W of the output projection that minimises the weighted sum of |r - W^T o|^2 + lambda |W|^2 over the training windows: of a few
 * strengths lambda, the one with the least held-out error, and no change where that is worse than none.
 *
 * @returns Undefined where nothing could be solved: the attended values are all zero, or too large or too small for their numbers.
 */
export function solveChange(train: OutputMoments, heldOut: OutputMoments): { change?: Matrix } | undefined {
  const [some, someHeldOut] = [someOutputs(train), someOutputs(heldOut)];
  let best: { ridge: number; error: number; change: Matrix } | undefined;
  for (const ridge of RIDGES) {
    const change = solve(some, ridge);
    if (change === undefined) continue;
    const error = addedError(change, someHeldOut);
    if (best === undefined || error < best.error) best = { ridge, error, change };
  }
  if (best === undefined) return undefined;
  if (some === train) return best.error < 0 ? { change: best.change } : {};
  const change = solve(train, best.ridge);
  return change !== undefined && addedError(change, heldOut) < 0 ? { change } : {};
}

/** What a change adds to the held-out error, heldOut.energy without one. */
function addedError(change: Matrix, { gram, lack }: OutputMoments): number {
  return energyOf(change, gram) - 2 * innerProduct(change, lack);
}

/** The moments with only so many columns of what is lacking. */
function someOutputs(moments: OutputMoments): OutputMoments {
  const { rows: count, cols, data } = moments.lack;
  if (cols <= OUTPUTS_LOOKED_AT) return moments;
  const lack = createMatrix(count, OUTPUTS_LOOKED_AT);
  for (let row = 0; row < count; row++) {
    for (let place = 0; place < OUTPUTS_LOOKED_AT; place++) {
      const column = Math.floor((place * cols) / OUTPUTS_LOOKED_AT);
      lack.data[row * OUTPUTS_LOOKED_AT + place] = data[row * cols + column]!;
    }
  }
  return { ...moments, lack };
}

/** Undefined where the moments are not those of numbers that can be solved for. */
function solve({ gram, lack }: OutputMoments, ridge: number): Matrix | undefined {
  try {
    return solveRidge(gram, lack, ridge * (trace(gram) / gram.rows));
  } catch (error) {
    const codes: unknown[] = ['numerical', 'non-finite', 'invalid-argument'];
    if (KvlrError.isInstance(error) && codes.includes(error.code)) return undefined;
    throw error;
  }
}

/** Sum of |change^T o|^2 over the tokens behind the gram matrix. */
function energyOf(change: Matrix, gram: Matrix): number {
  return innerProduct(multiply(gram, change), change);
}
