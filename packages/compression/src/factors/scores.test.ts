import { createNormalRandom } from '@kvlr/core';
import { createMatrix, type Matrix, multiply, multiplyTransposed, transpose } from '@kvlr/linalg';
import { expectClose } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GroupFactors } from '../ports.ts';
import { averageRotated, rotationAverages } from './rotation-averages.ts';
import { fitScoreFactors, lostScoreShare, normalizePairs, type ScoreProblem } from './scores.ts';
import { meanPoolFactors } from './subspace.ts';

const headDim = 6;
const frequencies = Float64Array.of(1, 0.1, 0.01);
const tokens = 12;

function randomMatrix(rows: number, cols: number, normal: () => number): Matrix {
  return createMatrix(
    rows,
    cols,
    Float64Array.from({ length: rows * cols }, () => normal()),
  );
}

function randomMoment(size: number, normal: () => number): Matrix {
  const samples = randomMatrix(size, size + 3, normal);
  return multiplyTransposed(samples, samples);
}

/** RoPE's rotation from a key to a query that stands `distance` tokens after it, of a head `times` as wide. */
function rotation(distance: number, times = 1): Matrix {
  const width = times * headDim;
  const matrix = createMatrix(width, width);
  for (let first = 0; first < width / 2; first++) {
    const frequency = frequencies[first % frequencies.length]!;
    const [cosine, sine] = [Math.cos(frequency * distance), Math.sin(frequency * distance)];
    const second = first + width / 2;
    matrix.data[first * width + first] = cosine;
    matrix.data[first * width + second] = sine;
    matrix.data[second * width + first] = -sine;
    matrix.data[second * width + second] = cosine;
  }
  return matrix;
}

const distances = Array.from({ length: tokens }, (_, distance) => distance);
const weightOf = (distance: number) => (tokens - distance) / (distance + 1) ** 1.5;
const weightTotal = distances.reduce((sum, distance) => sum + weightOf(distance), 0);

/** Mean over distances by summing them one by one. */
function meanOver(term: (turn: Matrix, distance: number) => Matrix): Matrix {
  const terms = distances.map((distance) => term(rotation(distance), distance));
  const data = terms[0]!.data.map((_, index) =>
    terms.reduce((sum, { data: entry }, distance) => sum + (entry[index]! * weightOf(distance)) / weightTotal, 0),
  );
  return { ...terms[0]!, data };
}

/** sum_i E|q_i^T (B_i R A - R S_i) k|^2, distance by distance. */
function scoreError({ moment, queryMoments }: ScoreProblem, { encoder, decoders }: GroupFactors): number {
  const own = meanOver((turn, distance) => {
    let error = 0;
    const wideTurn = rotation(distance, encoder.rows / headDim);
    decoders.forEach((decoder, head) => {
      const gap = multiply(multiply(decoder, wideTurn), encoder);
      for (let row = 0; row < headDim; row++) {
        for (let column = 0; column < headDim; column++) {
          gap.data[row * gap.cols + head * headDim + column]! -= turn.data[row * headDim + column]!;
        }
      }
      const spread = multiplyTransposed(multiply(gap, moment), gap);
      const weighed = multiply(queryMoments[head]!, spread);
      for (let row = 0; row < headDim; row++) error += weighed.data[row * (headDim + 1)]!;
    });
    return createMatrix(1, 1, Float64Array.of(error));
  });
  return own.data[0]!;
}

function randomProblem(heads: number, seed: number): ScoreProblem {
  const normal = createNormalRandom(seed);
  return {
    moment: randomMoment(heads * headDim, normal),
    queryMoments: Array.from({ length: heads }, () => randomMoment(headDim, normal)),
    averages: rotationAverages(frequencies, tokens),
  };
}

/** Factors of a shared head `times` as wide that mean nothing in particular. */
function randomFactors(heads: number, times: number, seed: number): GroupFactors {
  const normal = createNormalRandom(seed);
  return {
    encoder: randomMatrix(times * headDim, heads * headDim, normal),
    decoders: Array.from({ length: heads }, () => randomMatrix(headDim, times * headDim, normal)),
  };
}

const silent = (heads: number): GroupFactors => ({
  encoder: createMatrix(headDim, heads * headDim),
  decoders: Array.from({ length: heads }, () => createMatrix(headDim, headDim)),
});

describe('averageRotated', () => {
  it('equals the sum over distances', () => {
    const matrix = randomMatrix(headDim, headDim, createNormalRandom(1));
    const averages = rotationAverages(frequencies, tokens);
    const forward = meanOver((turn) => multiplyTransposed(multiply(turn, matrix), turn));
    expectClose(averageRotated(matrix, averages, 'forward').data, forward.data, 1e-12);
    const backward = meanOver((turn) => multiply(multiply(transpose(turn), matrix), turn));
    expectClose(averageRotated(matrix, averages, 'backward').data, backward.data, 1e-12);
  });

  it('equals it where rows or columns are those of a head twice as wide', () => {
    const averages = rotationAverages(frequencies, tokens);
    const wideRows = randomMatrix(2 * headDim, headDim, createNormalRandom(1));
    const backward = meanOver((turn, distance) => multiply(multiply(transpose(rotation(distance, 2)), wideRows), turn));
    expectClose(averageRotated(wideRows, averages, 'backward').data, backward.data, 1e-12);
    const wideColumns = transpose(wideRows);
    const forward = meanOver((turn, distance) =>
      multiplyTransposed(multiply(turn, wideColumns), rotation(distance, 2)),
    );
    expectClose(averageRotated(wideColumns, averages, 'forward').data, forward.data, 1e-12);
  });
});

describe('fitScoreFactors', () => {
  const cases = fc.record({ heads: fc.integer({ min: 1, max: 3 }), seed: fc.nat(1e6) });
  const times = fc.integer({ min: 1, max: 2 });

  it('reports the error that its factors make, below that of the start', () => {
    fc.assert(
      fc.property(cases, times, ({ heads, seed }, wide) => {
        const problem = randomProblem(heads, seed);
        const start = wide === 1 ? meanPoolFactors(heads, headDim) : randomFactors(heads, wide, seed);
        const { factors, lostShare } = fitScoreFactors(problem, start);
        const total = scoreError(problem, silent(heads));
        expect(scoreError(problem, factors) / total).toBeCloseTo(lostShare, 8);
        expect(lostScoreShare(problem, factors)).toBeCloseTo(lostShare, 8);
        expect(lostScoreShare(problem, start)).toBeCloseTo(scoreError(problem, start) / total, 8);
        expect(lostShare).toBeLessThanOrEqual(scoreError(problem, start) / total + 1e-9);
      }),
      { numRuns: 25 },
    );
  });

  it('ends where small changes of the factors gain next to nothing', () => {
    fc.assert(
      fc.property(cases, ({ heads, seed }) => {
        const problem = randomProblem(heads, seed);
        const { factors } = fitScoreFactors(problem, meanPoolFactors(heads, headDim));
        const reached = scoreError(problem, factors);
        const normal = createNormalRandom(seed + 1);
        const shake = (matrix: Matrix): Matrix => ({
          ...matrix,
          data: matrix.data.map((value) => value * (1 + 0.01 * normal())),
        });
        for (let rival = 0; rival < 5; rival++) {
          const shaken = { encoder: shake(factors.encoder), decoders: factors.decoders.map(shake) };
          expect(scoreError(problem, shaken)).toBeGreaterThan(0.999 * reached - 1e-9);
        }
      }),
      { numRuns: 25 },
    );
  });

  it('keeps the start when there is nothing to explain', () => {
    const start = meanPoolFactors(2, headDim);
    const problem = { ...randomProblem(2, 1), moment: createMatrix(2 * headDim, 2 * headDim) };
    expect(fitScoreFactors(problem, start)).toEqual({ factors: start, lostShare: 0 });
  });
});

describe('normalizePairs', () => {
  it('scales each pair of a wide head to the energy of its frequency', () => {
    const problem = randomProblem(3, 8);
    const factors = randomFactors(3, 2, 9);
    const normalized = normalizePairs(factors, problem.moment);
    expect(scoreError(problem, normalized)).toBeCloseTo(scoreError(problem, factors), 6);
    const shared = multiplyTransposed(multiply(normalized.encoder, problem.moment), normalized.encoder);
    const energyOf = ({ data, cols }: Matrix, rows: number[]) =>
      rows.reduce((sum, row) => sum + data[row * (cols + 1)]!, 0);
    for (let p = 0; p < headDim; p++) {
      const j = p % frequencies.length;
      const places = [0, 1, 2].flatMap((head) => [head * headDim + j, head * headDim + j + headDim / 2]);
      expect(energyOf(shared, [p, p + headDim]) / (energyOf(problem.moment, places) / 3)).toBeCloseTo(1, 10);
    }
  });

  it('gives each pair the mean energy of the heads and leaves the scores alone', () => {
    const problem = randomProblem(2, 8);
    const { factors } = fitScoreFactors(problem, meanPoolFactors(2, headDim));
    const normalized = normalizePairs(factors, problem.moment);
    expect(scoreError(problem, normalized)).toBeCloseTo(scoreError(problem, factors), 6);
    const spread = multiplyTransposed(multiply(normalized.encoder, problem.moment), normalized.encoder);
    const energy = ({ data, cols }: Matrix, row: number) => data[row * (cols + 1)]!;
    const { moment } = problem;
    for (let j = 0; j < headDim / 2; j++) {
      const places = [j, j + headDim / 2];
      const shared = places.reduce((sum, row) => sum + energy(spread, row), 0);
      const mean = places.reduce((sum, row) => sum + (energy(moment, row) + energy(moment, row + headDim)) / 2, 0);
      expect(shared / mean).toBeCloseTo(1, 10);
    }
  });
});
