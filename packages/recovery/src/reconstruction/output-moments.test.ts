import { createNormalRandom } from '@kvlr/core';
import { createMatrix, innerProduct, type Matrix, multiply, solveRidge, trace, transpose } from '@kvlr/linalg';
import { describe, expect, it } from 'vitest';
import { type OutputMoments, solveChange } from './output-moments.ts';

const width = 12;
const outputs = 300;

function normals(rows: number, cols: number, seed: number, scale = 1): Matrix {
  const random = createNormalRandom(seed);
  return createMatrix(
    rows,
    cols,
    Float64Array.from({ length: rows * cols }, () => scale * random()),
  );
}

/** Moments of tokens whose lack is a map of what is attended, and noise. */
function momentsOf(tokens: number, map: Matrix, noise: number, seed: number): OutputMoments {
  const attended = normals(tokens, width, seed);
  const lack = multiply(attended, map);
  const added = normals(tokens, outputs, seed + 1, noise).data;
  for (let index = 0; index < added.length; index++) lack.data[index]! += added[index]!;
  const across = transpose(attended);
  return { gram: multiply(across, attended), lack: multiply(across, lack), energy: innerProduct(lack, lack) };
}

const ridges = [1e-4, 1e-3, 1e-2, 1e-1];
const solved = ({ gram, lack }: OutputMoments, ridge: number) =>
  solveRidge(gram, lack, (ridge * trace(gram)) / gram.rows);
const heldOutError = (change: Matrix, { gram, lack }: OutputMoments) =>
  innerProduct(multiply(gram, change), change) - 2 * innerProduct(change, lack);

describe('solveChange', () => {
  it.each([
    ['little noise', 0.1],
    ['much noise', 12],
  ])('takes the strength that is best for all outputs, of more than it looks at: %s', (_, noise) => {
    const map = normals(width, outputs, 1);
    const [train, heldOut] = [momentsOf(16, map, noise, 2), momentsOf(400, map, noise, 4)];
    const errors = ridges.map((ridge) => heldOutError(solved(train, ridge), heldOut));
    const best = ridges[errors.indexOf(Math.min(...errors))]!;
    const { change } = solveChange(train, heldOut)!;
    if (Math.min(...errors) < 0) expect(change).toEqual(solved(train, best));
    else expect(change).toBeUndefined();
  });

  it('changes nothing where held-out text would lose', () => {
    const [train, heldOut] = [
      momentsOf(40, normals(width, outputs, 1), 0.1, 2),
      momentsOf(40, normals(width, outputs, 9), 0.1, 4),
    ];
    expect(solveChange(train, heldOut)).toEqual({});
  });

  it('has no answer where nothing is attended to', () => {
    const nothing = { gram: createMatrix(width, width), lack: createMatrix(width, outputs), energy: 1 };
    expect(solveChange(nothing, nothing)).toBeUndefined();
  });
});
