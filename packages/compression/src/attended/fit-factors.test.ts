import { createNormalRandom } from '@kvlr/core';
import { createMatrix, multiply } from '@kvlr/linalg';
import { describe, expect, it } from 'vitest';
import { fitAttendedFactors } from './fit-factors.ts';

describe('fitAttendedFactors', () => {
  it('finds factors that lose nothing where there are such', () => {
    const normal = createNormalRandom(8);
    const random = (rows: number, cols: number) =>
      createMatrix(rows, cols, Float64Array.from({ length: rows * cols }, normal));
    // Both heads attend to multiples of one value of rank 3: u_h = [L_0; L_1] z_h.
    const basis = random(6, 3);
    const latent = random(6, 6);
    const all = multiply(latent, {
      ...latent,
      data: latent.data.map((_, i) => latent.data[(i % 6) * 6 + Math.floor(i / 6)]!),
    });
    const block = (row: number, col: number) =>
      createMatrix(
        3,
        3,
        Float64Array.from({ length: 9 }, (_, i) => all.data[(row * 3 + Math.floor(i / 3)) * 6 + col * 3 + (i % 3)]!),
      );
    const basisT = createMatrix(
      3,
      6,
      Float64Array.from({ length: 18 }, (_, i) => basis.data[(i % 6) * 3 + Math.floor(i / 6)]!),
    );
    const moments = [0, 1].map((h) => [0, 1].map((g) => multiply(multiply(basis, block(h, g)), basisT)));
    const outputs = [random(5, 3), random(5, 3)];
    const grams = outputs.map((left) =>
      outputs.map((right) => {
        const leftT = createMatrix(
          3,
          5,
          Float64Array.from({ length: 15 }, (_, i) => left.data[(i % 5) * 3 + Math.floor(i / 5)]!),
        );
        return multiply(leftT, right);
      }),
    );
    const start = { encoder: random(3, 6), decoders: [random(3, 3), random(3, 3)] };
    const { lostShare } = fitAttendedFactors({ moments, grams, places: [0, 1] }, start);
    expect(lostShare).toBeLessThan(1e-3);
  });
});
