import { createNormalRandom } from '@kvlr/core';
import { createMatrix, identity, type Matrix, multiply, multiplyTransposed, transpose } from '@kvlr/linalg';
import { expectClose } from '@kvlr/testkit';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GroupFactors } from '../ports.ts';
import { normalizeEnergy, subspaceFactors } from './subspace.ts';

function randomMatrix(rows: number, cols: number, normal: () => number): Matrix {
  return createMatrix(
    rows,
    cols,
    Float64Array.from({ length: rows * cols }, () => normal()),
  );
}

/** E|u - B A u|^2 in the metric, from the definition: the trace of R C R^T M with R = I - B A. */
function metricError(moment: Matrix, metric: readonly Matrix[], { encoder, decoders }: GroupFactors): number {
  let error = 0;
  decoders.forEach((decoder, head) => {
    const rebuilt = multiply(decoder, encoder);
    const residual = createMatrix(
      decoder.rows,
      moment.rows,
      rebuilt.data.map((value) => -value),
    );
    for (let row = 0; row < decoder.rows; row++) residual.data[row * moment.rows + head * decoder.rows + row]! += 1;
    const spread = multiplyTransposed(multiply(residual, moment), residual);
    const weighed = multiply(spread, metric[head]!);
    for (let row = 0; row < decoder.rows; row++) error += weighed.data[row * (decoder.rows + 1)]!;
  });
  return error;
}

describe('subspaceFactors', () => {
  it('loses no more than random factors do in the metric', () => {
    fc.assert(
      fc.property(fc.nat(1e6), fc.integer({ min: 1, max: 3 }), fc.constantFrom(0.01, 0.5), (seed, heads, step) => {
        const normal = createNormalRandom(seed);
        const headDim = 4;
        const samples = randomMatrix(heads * headDim, 20, normal);
        const moment = multiplyTransposed(samples, samples);
        const metric = Array.from({ length: heads }, () => {
          const root = randomMatrix(headDim, headDim, normal);
          return multiplyTransposed(root, root);
        });
        const best = subspaceFactors(moment, headDim, headDim, metric);
        const least = metricError(moment, metric, best);
        for (let rival = 0; rival < 10; rival++) {
          const shaken = {
            encoder: { ...best.encoder, data: best.encoder.data.map((value) => value + step * normal()) },
            decoders: best.decoders.map((decoder) => ({
              ...decoder,
              data: decoder.data.map((value) => value + step * normal()),
            })),
          };
          expect(metricError(moment, metric, shaken)).toBeGreaterThanOrEqual(least - 1e-6 * Math.max(1, least));
        }
        const plain = subspaceFactors(moment, headDim, headDim);
        expect(metricError(moment, metric, plain)).toBeGreaterThanOrEqual(least - 1e-6 * Math.max(1, least));
      }),
      { numRuns: 40 },
    );
  });

  it('rebuilds everything at full rank, also through a singular metric', () => {
    const normal = createNormalRandom(2);
    const samples = randomMatrix(6, 12, normal);
    const moment = multiplyTransposed(samples, samples);
    const flat = createMatrix(3, 3);
    flat.data[0] = 5;
    for (const metric of [undefined, [identity(3), flat], [createMatrix(3, 3), createMatrix(3, 3)]]) {
      const { encoder, decoders } = subspaceFactors(moment, 3, 6, metric);
      const rebuilt = decoders.flatMap((decoder) => [...multiply(decoder, encoder).data]);
      expectClose(rebuilt, identity(6).data, 1e-9);
    }
  });

  it('has orthonormal rows and the top energy without a metric', () => {
    const samples = randomMatrix(8, 30, createNormalRandom(4));
    const { encoder, decoders } = subspaceFactors(multiplyTransposed(samples, samples), 4, 4);
    expectClose(multiplyTransposed(encoder, encoder).data, identity(4).data, 1e-12);
    expectClose(
      decoders.flatMap((decoder) => [...decoder.data]),
      transpose(encoder).data,
      0,
    );
  });
});

describe('normalizeEnergy', () => {
  it('sets the mean energy of the shared head and changes nothing else', () => {
    const samples = randomMatrix(8, 30, createNormalRandom(6));
    const moment = multiplyTransposed(samples, samples);
    const factors = subspaceFactors(moment, 4, 4);
    const normalized = normalizeEnergy(factors, moment);
    const spread = multiplyTransposed(multiply(normalized.encoder, moment), normalized.encoder);
    const diagonal = (matrix: Matrix) =>
      Array.from({ length: matrix.rows }, (_, i) => matrix.data[i * (matrix.cols + 1)]!);
    const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    expect(mean(diagonal(spread)) / mean(diagonal(moment))).toBeCloseTo(1, 12);
    factors.decoders.forEach((decoder, head) => {
      expectClose(
        multiply(normalized.decoders[head]!, normalized.encoder).data,
        multiply(decoder, factors.encoder).data,
        1e-12,
      );
    });
    expect(normalizeEnergy(factors, createMatrix(8, 8))).toEqual(factors);
  });
});
